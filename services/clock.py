"""Times as they are stored: ISO 8601 in UTC, so that their order is that of their text."""

from datetime import UTC, datetime, timedelta


def now(earlier: timedelta = timedelta()) -> str:
    """The time it is, or was `earlier` ago."""
    return (datetime.now(UTC) - earlier).isoformat(timespec="milliseconds")
