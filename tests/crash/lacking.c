/* Stands for a file system that lacks something (LD_PRELOAD).

   LACKING        "flock", "locks" (POSIX locks of files), or "memory" (a writable mapping of a file
                  that processes share)
   LACKING_ERRNO  with what the calls for it fail */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether calls for this fail; errno is set then. */
static int lacks(const char *what) {
    const char *lacking = getenv("LACKING"), *error_number = getenv("LACKING_ERRNO");
    if (!lacking || strcmp(lacking, what)) return 0;
    errno = error_number ? atoi(error_number) : ENOSYS;
    return 1;
}

int flock(int fd, int operation) {
    return lacks("flock") ? -1 : (int)syscall(SYS_flock, fd, operation);
}

static int is_lock(int command) {
    switch (command) {
    case F_GETLK: case F_SETLK: case F_SETLKW: return 1;
    case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW: return 1;
    default: return 0;
    }
}

#define FCNTL(name)                                                    \
    int name(int fd, int command, ...) {                               \
        va_list arguments;                                             \
        va_start(arguments, command);                                  \
        void *argument = va_arg(arguments, void *);                    \
        va_end(arguments);                                             \
        if (is_lock(command) && lacks("locks")) return -1;             \
        return (int)syscall(SYS_fcntl, fd, command, argument);         \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

#define MMAP(name)                                                     \
    void *name(void *at, size_t length, int protection, int flags, int fd, off_t offset) { \
        int is_shared = fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE;          \
        if (is_shared && lacks("memory")) return MAP_FAILED;                               \
        return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);       \
    }
MMAP(mmap)
MMAP(mmap64)
