/* Faults at the write points of a process: every call of libc that changes what is below one folder is counted, and the Nth is where the
 * process is killed, the write torn, the disk full or broken. Loaded with LD_PRELOAD; armed with shim_arm().
 * A trace of all points, with their data, is what the folder is rebuilt from as a power loss would leave it. What is written through stdio or a
 * memory map is not seen; the rebuilding tells where that happens.
 *
 * fsync is counted but not made: a killed process loses nothing that it wrote, and no test cuts the power of its own machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FDS 65536
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
enum action { NONE, KILL, TORN, FULL, BROKEN };
enum verdict { PASS, REFUSE, PART };
enum needs { NO_SPACE, NAME, DATA };

static char folder[PATH_MAX];
static size_t folder_len;
static enum action action;
static long first, count, points;
static int trace = -1;
static char below[MAX_FDS];
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Count from 0 again, below `path`: `what` happens at point `at` (from 1) and at the `calls` - 1 points after it. */
void shim_arm(const char *path, int what, long at, long calls, int trace_fd) {
    folder_len = strlen(strncpy(folder, path, sizeof folder - 1));
    action = what, first = at, count = calls, points = 0, trace = trace_fd;
    memset(below, 0, sizeof below);
}

long shim_points(void) { return points; }

static int watched(const char *path) {
    return folder_len && !strncmp(path, folder, folder_len) && (path[folder_len] == '/' || !path[folder_len]);
}

static int watched_fd(int fd) { return fd >= 0 && fd < MAX_FDS && below[fd]; }

/* `path` as seen from the directory `at`; `room` holds PATH_MAX bytes. */
static const char *absolute(int at, const char *path, char *room) {
    char link[64];
    if (path[0] == '/' || at == AT_FDCWD) return path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    if (length < 0) return path;
    snprintf(room + length, PATH_MAX - length, "/%s", path);
    return room;
}

static void record(char kind, int fd, const char *path, const char *other, int64_t offset, const void *data, int64_t size) {
    if (trace < 0) return;
    int saved = errno;
    int64_t head[6] = {kind, fd, offset, strlen(path), strlen(other), size};
    struct iovec parts[4] = {{head, sizeof head}, {(void *)path, head[3]}, {(void *)other, head[4]}, {(void *)data, data ? size : 0}};
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (real(trace, parts, 4) < 0) abort();
    errno = saved;
}

/* What is acknowledged between two points. */
void shim_mark(long number) { record('#', -1, "", "", number, NULL, 0); }

/* Take part in the count; holds the lock, until done(), unless the call is refused. */
static enum verdict point(enum needs needs) {
    pthread_mutex_lock(&one_at_a_time);
    long now = ++points;
    if (action == NONE || now < first || now - first >= count || (action == FULL && needs == NO_SPACE)) return PASS;
    if (action == KILL) kill(getpid(), SIGKILL);
    if (action == TORN || (action == FULL && needs == DATA && now == first)) return PART;
    errno = action == FULL ? ENOSPC : EIO;
    pthread_mutex_unlock(&one_at_a_time);
    return REFUSE;
}

static void done(enum verdict verdict) {
    if (verdict == PART && action == TORN) kill(getpid(), SIGKILL);
    pthread_mutex_unlock(&one_at_a_time);
}

/* A change of names: counted, made, recorded. */
#define CHANGE_NAMES(kind, space, from, to, call) \
    enum verdict verdict = point(space); \
    if (verdict == REFUSE) return -1; \
    int result = call; \
    if (!result) record(kind, -1, from, to, 0, NULL, 0); \
    done(verdict); \
    return result

static int opened(int fd, const char *path, char kind) {
    if (fd < 0 || fd >= MAX_FDS) return fd;
    below[fd] = 1;
    record(kind, fd, path, "", 0, NULL, 0);
    return fd;
}

static int open_file(int at, const char *path, int flags, mode_t mode) {
    REAL(int, openat64, int, const char *, int, ...);
    char room[PATH_MAX];
    struct stat before;
    const char *full = absolute(at, path, room);
    if (!watched(full)) {
        int fd = real(at, path, flags, mode);
        if (fd >= 0 && fd < MAX_FDS) below[fd] = 0;
        return fd;
    }
    int is_new = (flags & O_CREAT) && stat(full, &before) != 0, cuts = !is_new && (flags & O_TRUNC);
    if (!is_new && !cuts) return opened(real(at, path, flags, mode), full, 'O');
    enum verdict verdict = point(is_new ? NAME : NO_SPACE);
    if (verdict == REFUSE) return -1;
    int fd = opened(real(at, path, flags, mode), full, is_new ? 'C' : 'E');
    done(verdict);
    return fd;
}

#define OPEN_MODE(last) mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *path, int flags, ...) { OPEN_MODE(flags) return open_file(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN_MODE(flags) return open_file(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { OPEN_MODE(flags) return open_file(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { OPEN_MODE(flags) return open_file(at, path, flags, mode); }

static ssize_t put(int fd, const void *data, size_t size, off_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    if (!watched_fd(fd)) return real(fd, data, size, offset);
    enum verdict verdict = point(DATA);
    if (verdict == REFUSE) return -1;
    ssize_t written = real(fd, data, verdict == PART && size > 1 ? size / 2 : size, offset);
    if (written > 0) record('W', fd, "", "", offset, data, written);
    done(verdict);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return put(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return put(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!watched_fd(fd)) return real(fd, data, size);
    int appends = fcntl(fd, F_GETFL) & O_APPEND;
    off_t offset = lseek(fd, 0, appends ? SEEK_END : SEEK_CUR);
    if (appends) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_APPEND); /* Linux appends even with pwrite */
    ssize_t written = put(fd, data, size, offset);
    if (appends) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return watched_fd(fd) ? write(fd, parts[0].iov_base, parts[0].iov_len) : real(fd, parts, number); /* a short write is allowed */
}

/* Python copies files with these where it can, and by reading and writing where it can't. */
ssize_t sendfile64(int to, int from, off_t *offset, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off_t *, size_t);
    return watched_fd(to) ? (errno = ENOTSOCK, -1) : real(to, from, offset, size);
}

ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
    return watched_fd(to) ? (errno = EXDEV, -1) : real(from, from_offset, to, to_offset, size, flags);
}

static int cut(int fd, off_t size) {
    REAL(int, ftruncate64, int, off_t);
    if (!watched_fd(fd)) return real(fd, size);
    enum verdict verdict = point(NO_SPACE);
    if (verdict == REFUSE) return -1;
    int result = real(fd, size);
    if (!result) record('T', fd, "", "", size, NULL, 0);
    done(verdict);
    return result;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }

static int sync_file(int fd) {
    enum verdict verdict = point(NO_SPACE);
    if (verdict == REFUSE) return -1;
    record('S', fd, "", "", 0, NULL, 0);
    done(verdict);
    return 0;
}

int fsync(int fd) { REAL(int, fsync, int); return watched_fd(fd) ? sync_file(fd) : real(fd); }
int fdatasync(int fd) { REAL(int, fdatasync, int); return watched_fd(fd) ? sync_file(fd) : real(fd); }

int close(int fd) {
    REAL(int, close, int);
    if (watched_fd(fd)) below[fd] = 0;
    return real(fd);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    char room[PATH_MAX], other_room[PATH_MAX];
    const char *full = absolute(from_at, from, room), *other = absolute(to_at, to, other_room);
    if (!watched(full) && !watched(other)) return real(from_at, from, to_at, to);
    CHANGE_NAMES('R', NAME, full, other, real(from_at, from, to_at, to));
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    char room[PATH_MAX], other_room[PATH_MAX];
    const char *full = absolute(from_at, from, room), *other = absolute(to_at, to, other_room);
    if (!watched(other)) return real(from_at, from, to_at, to, flags);
    CHANGE_NAMES('L', NAME, full, other, real(from_at, from, to_at, to, flags));
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int at, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char room[PATH_MAX];
    const char *full = absolute(at, path, room);
    if (!watched(full)) return real(at, path, flags);
    CHANGE_NAMES('U', NO_SPACE, full, "", real(at, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    char room[PATH_MAX];
    const char *full = absolute(at, path, room);
    if (!watched(full)) return real(at, path, mode);
    CHANGE_NAMES('M', NAME, full, "", real(at, path, mode));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
