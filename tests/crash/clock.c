/* Stands for a clock of the machine that goes back by a minute each time it is read (LD_PRELOAD).
   The clock that measures how much time has passed goes on as it does. */

#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long times_read;

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && !result) now->tv_sec -= 60 * atomic_fetch_add(&times_read, 1);
    return result;
}
