/* The wall clock of a process jumps: by seconds, a day, ten years, back and forth.
 *
 * Loaded before the C library, this answers for it whoever asks for the time of day: Python, SQLite
 * and the rest. The monotonic clock stays true, as it does on a machine whose clock is set. Which
 * jump it is follows from the monotonic clock and CRASH_CLOCK alone, so threads agree.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static const long jumps[] = {0, 1, -1, 3600, -86400, 320000000L, -320000000L};

static int true_time(clockid_t clock, struct timespec *out) {
    static int (*usual)(clockid_t, struct timespec *);
    if (!usual) usual = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return usual(clock, out);
}

static long offset(void) {
    struct timespec now;
    const char *seed = getenv("CRASH_CLOCK");
    if (!seed || true_time(CLOCK_MONOTONIC, &now)) return 0;
    unsigned long span = (unsigned long)now.tv_sec * 8 + now.tv_nsec / 125000000;
    unsigned long mixed = (span + strtoul(seed, NULL, 10)) * 2654435761UL;
    return jumps[(mixed >> 16) % (sizeof jumps / sizeof *jumps)];
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int failed = true_time(clock, out);
    if (!failed && clock == CLOCK_REALTIME) out->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
