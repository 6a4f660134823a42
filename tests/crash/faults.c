/* Stands between a process and its disk (LD_PRELOAD): makes calls on one database fail, kill, hang
   or crawl, and records what they change.

   FAULTS_DATABASE  path of the database; any file whose path starts with it counts too: -wal, -shm
   FAULTS_CALLS     which calls are counted: "change" (create, write, truncate, sync), "read", or
                    "main": changes of the database file alone, which a checkpoint makes
   FAULTS_FIRST     the first call, counted from 1, that goes wrong; 0 or absent: none
   FAULTS_TIMES     how many calls from then on go wrong; 0: all
   FAULTS_EFFECT    "fail" with FAULTS_ERRNO, "kill" (half a write is done, then SIGKILL), "hang",
                    "slow" (20 ms each)
   FAULTS_CHANGES   a file that receives every change, in order: see struct record */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NONE, MAIN, WAL, OTHER };
enum { MAX_FILES = 4096, SLOW_MICROSECONDS = 20000 };

struct record { /* little-endian, 24 bytes, followed by `length` bytes if `call` is 'w' */
    uint8_t call; /* w(rite), t(runcate to offset), s(ync), u(nlink) */
    uint8_t file; /* MAIN or WAL */
    uint8_t unused[6];
    uint64_t offset;
    uint64_t length;
};

static uint8_t files[MAX_FILES];
static pthread_mutex_t in_order = PTHREAD_MUTEX_INITIALIZER;
static const char *database, *effect;
static int counts_reads, counts_main, changes_file = -1;
static long counted, first, times, error_number;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* Called when the library is loaded, and by a process that was forked with other variables. */
__attribute__((constructor)) void begin_faults(void) {
    const char *calls = getenv("FAULTS_CALLS"), *changes = getenv("FAULTS_CHANGES");
    database = getenv("FAULTS_DATABASE");
    effect = getenv("FAULTS_EFFECT");
    counts_reads = calls && !strcmp(calls, "read");
    counts_main = calls && !strcmp(calls, "main");
    first = number("FAULTS_FIRST");
    times = number("FAULTS_TIMES");
    error_number = number("FAULTS_ERRNO");
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    if (changes) changes_file = syscall(SYS_openat, AT_FDCWD, changes, flags, 0600);
}

static int file_of_path(const char *path) {
    size_t length = database ? strlen(database) : 0;
    if (!length || strncmp(path, database, length)) return NONE;
    return !path[length] ? MAIN : !strcmp(path + length, "-wal") ? WAL : OTHER;
}

static int file_of(int fd) { return fd >= 0 && fd < MAX_FILES ? files[fd] : NONE; }

static int counts_changes(int file) { return counts_main ? file == MAIN : file && !counts_reads; }

/* Whether this call is to fail; errno is set then. */
static int goes_wrong(int fd, const void *bytes, size_t length, off_t offset) {
    pthread_mutex_lock(&in_order);
    long call = ++counted;
    pthread_mutex_unlock(&in_order);
    if (!first || call < first || (times && call >= first + times)) return 0;
    if (!strcmp(effect, "slow")) usleep(SLOW_MICROSECONDS);
    if (!strcmp(effect, "hang")) for (;;) pause();
    if (!strcmp(effect, "kill")) {
        if (bytes) syscall(SYS_pwrite64, fd, bytes, length / 2, offset);
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (strcmp(effect, "fail")) return 0;
    errno = error_number;
    return 1;
}

static void keep(char call, int file, uint64_t offset, const void *bytes, uint64_t length) {
    if (changes_file < 0 || (file != MAIN && file != WAL)) return;
    struct record record = {.call = call, .file = file, .offset = offset, .length = length};
    pthread_mutex_lock(&in_order);
    if (syscall(SYS_write, changes_file, &record, sizeof record) != sizeof record) abort();
    if (length && syscall(SYS_write, changes_file, bytes, length) != (long)length) abort();
    pthread_mutex_unlock(&in_order);
}

static int opened(const char *path, int flags, mode_t mode) {
    int file = file_of_path(path);
    int creates = file && (flags & O_CREAT) && access(path, F_OK);
    if (creates && counts_changes(file) && goes_wrong(-1, NULL, 0, 0)) return -1;
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < MAX_FILES) files[fd] = file;
    return fd;
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        va_list arguments;                                            \
        va_start(arguments, flags);                                   \
        mode_t mode = flags & O_CREAT ? va_arg(arguments, int) : 0;   \
        va_end(arguments);                                            \
        return opened(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FILES) files[fd] = NONE;
    return syscall(SYS_close, fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    int file = file_of(fd);
    if (counts_changes(file) && goes_wrong(fd, bytes, length, offset)) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, length, offset);
    if (file && done > 0) keep('w', file, offset, bytes, done);
    return done;
}

ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) {
    if (file_of(fd) && counts_reads && goes_wrong(-1, NULL, 0, 0)) return -1;
    return syscall(SYS_pread64, fd, bytes, length, offset);
}

int ftruncate64(int fd, off_t length) {
    int file = file_of(fd);
    if (counts_changes(file) && goes_wrong(-1, NULL, 0, 0)) return -1;
    int failed = syscall(SYS_ftruncate, fd, length);
    if (file && !failed) keep('t', file, length, NULL, 0);
    return failed;
}

static int synced(int fd, long call) {
    int file = file_of(fd);
    if (counts_changes(file) && goes_wrong(-1, NULL, 0, 0)) return -1;
    int failed = syscall(call, fd);
    if (file && !failed) keep('s', file, 0, NULL, 0);
    return failed;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    int failed = syscall(SYS_unlink, path);
    if (!failed) keep('u', file_of_path(path), 0, NULL, 0);
    return failed;
}
