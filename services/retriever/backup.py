"""Backups: one file, the database as it was at one commit. Made and taken back while the service answers."""

import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from core.errors import DeadlineExceeded, IndexMismatch, InvalidSettings, StoreCorrupt, StoreLocked
from services.durable import rename_durably, sync_file
from services.retriever.database import place
from services.retriever.folder import CURRENT_NAME, INCOMING_NAME, DataFolder, current_name, discard
from services.retriever.schema import SCHEMA_VERSION
from services.retriever.store import DocumentStore

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 120
# Not 1, which is the place of a reindexing.
_RESTORED_AHEAD: Final = 2


def back_up(data_dir: Path, target: Path) -> int:
    """Write the store in `data_dir` to the file `target`, as of one commit; returns its bytes. A service may be running on it.

    Raises InvalidSettings where `target` exists or can't be written, StoreCorrupt, StorageFull.
    """
    if target.exists():
        raise InvalidSettings(f"{target} exists already: name another file")
    source = data_dir / current_name(data_dir)
    if not (data_dir / CURRENT_NAME).exists():
        raise InvalidSettings(f"there is no store in {data_dir}: name the folder that holds one with --data")
    draft = target.with_name(target.name + ".tmp")
    try:
        with place(target.parent).translating(opening=True), closing(_opened(source)) as store, closing(sqlite3.connect(draft)) as copy:
            store.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        sync_file(draft)
        rename_durably(draft, target)
    except OSError as error:
        raise InvalidSettings(f"{target} can't be written ({error})") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return target.stat().st_size


def restore(backup: Path, data_dir: Path) -> None:
    """Make `backup` the store in `data_dir`; what is stored there now is forgotten. Where a service runs on the folder, it takes the backup over
    without a failed question; returns when it has.

    Raises InvalidSettings where `backup` is none, IndexMismatch where a running service's store belongs to another encoder,
    DeadlineExceeded where a running service does not take it.
    """
    require_backup(backup)
    try:
        with DataFolder.open(data_dir, mending=True) as folder:
            draft = _copied(backup, folder.incoming)
            rename_durably(draft, folder.incoming)
            target = _placed(folder)
            folder.accept_loss(0)
            folder.switch(target)
            folder.discard_others()
    except StoreLocked:
        _hand_over(backup, data_dir)


def require_backup(path: Path) -> None:
    """Raise InvalidSettings where `path` is not a whole store of this version."""
    try:
        with closing(_opened(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            findings = [finding for (finding,) in connection.execute("PRAGMA quick_check")]
    except sqlite3.Error as error:
        raise InvalidSettings(f"{path} is no backup of a store ({error})") from error
    if version != SCHEMA_VERSION:
        raise InvalidSettings(f"{path} has schema version {version}, this Ekiben reads {SCHEMA_VERSION}")
    if findings != ["ok"]:
        raise InvalidSettings(f"{path} is damaged ({findings[0]}): take another backup")


def prepare_incoming(folder: DataFolder, current: DocumentStore) -> DocumentStore:
    """The backup that waits in `folder` as a store that can take the place of `current`.

    Raises InvalidSettings where it is none, IndexMismatch where it belongs to another encoder than `current`.
    """
    require_backup(folder.incoming)
    version = current.index_version()
    store = DocumentStore.open(_placed(folder), folder.note_commit)
    before, after = current.bound_encoder(), store.bound_encoder()
    if before and after and before.fingerprint != after.fingerprint:
        store.close()
        discard(store.path)
        raise IndexMismatch(f"the backup belongs to encoder {after.fingerprint}, the service runs {before.fingerprint}: stop it and restore again")
    store.continue_from(version)
    return store


def _placed(folder: DataFolder) -> Path:
    target = folder.next_database(_RESTORED_AHEAD)
    folder.place_incoming(target)
    return target


def _hand_over(backup: Path, data_dir: Path) -> None:
    before = current_name(data_dir)
    incoming = data_dir / INCOMING_NAME
    rename_durably(_copied(backup, incoming), incoming)
    deadline = time.monotonic() + _PATIENCE_S
    while current_name(data_dir) == before:
        if not incoming.exists() and not _taken(data_dir, before):
            raise StoreCorrupt(f"the running service refused {backup}: its log says why")
        if time.monotonic() > deadline:
            incoming.unlink(missing_ok=True)
            raise DeadlineExceeded(f"the service on {data_dir} did not take {backup} within {_PATIENCE_S} s: look into its log")
        time.sleep(_POLL_S)


def _taken(data_dir: Path, before: str) -> bool:
    """Whether the service is about to switch, or has; it moves the file first."""
    number = int("".join(filter(str.isdigit, before)))
    return current_name(data_dir) != before or (data_dir / f"store-{number + _RESTORED_AHEAD}.db").exists()


def _copied(backup: Path, place: Path) -> Path:
    draft = place.with_name(place.name + ".tmp")
    shutil.copyfile(backup, draft)
    sync_file(draft)
    return draft


def _opened(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise InvalidSettings(f"{path} is no file")
    # Not immutable: a log may stand beside it.
    return sqlite3.connect(f"file:{path.resolve().as_posix()}?mode=ro", uri=True)
