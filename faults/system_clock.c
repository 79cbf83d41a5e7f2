/* A settable system clock for one process. Preload this library (LD_PRELOAD) and name a file of one int64 in VLA_CLOCK:
   the number of nanoseconds by which the process's system clock is ahead of the true one. The monotonic clock is not
   changed, and a wait until a time of the system clock ends when this clock shows that time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const int64_t NS = 1000000000;
static volatile const int64_t *ahead;
static int (*true_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    true_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *name = getenv("VLA_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    ahead = page == MAP_FAILED ? NULL : page;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    if (!true_clock_gettime) begin();
    int status = true_clock_gettime(which, now);
    if (!status && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_sec * NS + now->tv_nsec + *ahead;
        now->tv_sec = ns / NS;
        now->tv_nsec = ns % NS;
    }
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (out) *out = fine.tv_sec;
    return fine.tv_sec;
}

/* The deadline on the true system clock; a deadline before 2001 is on the monotonic clock and is returned as it is. */
static const struct timespec *true_deadline(const struct timespec *deadline, struct timespec *out) {
    if (!ahead || !deadline || deadline->tv_sec < 1000000000) return deadline;
    int64_t ns = deadline->tv_sec * NS + deadline->tv_nsec - *ahead;
    out->tv_sec = ns / NS;
    out->tv_nsec = ns % NS;
    return out;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec out;
    if (!wait) wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* dlsym may find an older one */
    if (!wait) wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return wait(cond, mutex, true_deadline(deadline, &out));
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t which,
                           const struct timespec *deadline) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    struct timespec out;
    if (!wait) wait = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    return wait(cond, mutex, which, true_deadline(deadline, &out));
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *deadline) {
    static int (*lock)(pthread_mutex_t *, const struct timespec *);
    struct timespec out;
    if (!lock) lock = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    return lock(mutex, true_deadline(deadline, &out));
}

int sem_timedwait(sem_t *sem, const struct timespec *deadline) {
    static int (*wait)(sem_t *, const struct timespec *);
    struct timespec out;
    if (!wait) wait = dlsym(RTLD_NEXT, "sem_timedwait");
    return wait(sem, true_deadline(deadline, &out));
}
