"""The exit statuses of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command's exit status says."""

    OK = 0
    """done"""
    SOME_FAILED = 1
    """not all was done (documents or questions failed, a job was cancelled, `--sync` deleted nothing, reindexing failed), or `eval` found a loss"""
    USAGE = 2
    """the command line is wrong"""
    UNREACHABLE = 3
    """nothing answers at the URL"""
    REFUSED = 4
    """the request was refused (4xx)"""
    SERVER_ERROR = 5
    """the server failed or was not available in time (5xx)"""
    STARTUP = 6
    """the server can't start: settings, address, store or model"""
    FAULTS = 7
    """the store has faults"""
    BAD_EVALUATION = 8
    """the question set or the baseline of `eval` is broken"""
    DIFFERENT = 9
    """the replayed answer is not the recorded one"""
    INTERRUPTED = 130
    """stopped with Ctrl-C"""
