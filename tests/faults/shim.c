/* Preloaded into a gateway: makes its disk fail or lag and its wall clock jump, as a mapped file says at the moment.
 *
 * FAULT_SHIM_CONTROL names the file (struct control, see shim.py), FAULT_SHIM_DATA the folder whose files are meant.
 * Only the calls that SQLite makes for its files are touched: pwrite, fsync, fdatasync. The monotonic clock is real.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    int32_t sync_eio_percent;
    int32_t write_eio_percent;
    int32_t sync_delay_ms;
    int32_t sync_lies; /* say that it is on disk, and do nothing */
    int32_t felt; /* counts what was done to the gateway */
    int32_t unused;
    int64_t clock_offset_ms;
};

static volatile struct control calm;
static volatile struct control *control = &calm;
static const char *data_folder = "";

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_SHIM_CONTROL");
    const char *folder = getenv("FAULT_SHIM_DATA");
    if (!path || !folder)
        return;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped == MAP_FAILED)
        return;
    data_folder = strdup(folder);
    control = mapped;
}

static int is_meant(int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, data_folder, strlen(data_folder)) == 0;
}

static int struck(int percent)
{
    static __thread unsigned int seed;
    if (!seed)
        seed = (unsigned int)getpid() ^ (unsigned int)(uintptr_t)&seed;
    return rand_r(&seed) % 100 < percent;
}

static int fails(int percent)
{
    if (!struck(percent))
        return 0;
    __atomic_fetch_add((int32_t *)&control->felt, 1, __ATOMIC_RELAXED);
    errno = EIO;
    return 1;
}

static int sync_fails(int descriptor)
{
    if ((!control->sync_delay_ms && !control->sync_eio_percent) || !is_meant(descriptor))
        return 0;
    if (control->sync_delay_ms) {
        __atomic_fetch_add((int32_t *)&control->felt, 1, __ATOMIC_RELAXED);
        usleep((useconds_t)control->sync_delay_ms * 1000);
    }
    return fails(control->sync_eio_percent);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int sync_lies(int descriptor) { return control->sync_lies && is_meant(descriptor); }

int fsync(int descriptor)
{
    if (sync_fails(descriptor))
        return -1;
    return sync_lies(descriptor) ? 0 : REAL(fsync)(descriptor);
}

int fdatasync(int descriptor)
{
    if (sync_fails(descriptor))
        return -1;
    return sync_lies(descriptor) ? 0 : REAL(fdatasync)(descriptor);
}

static int write_fails(int descriptor)
{
    return control->write_eio_percent && is_meant(descriptor) && fails(control->write_eio_percent);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t at)
{
    return write_fails(descriptor) ? -1 : REAL(pwrite)(descriptor, bytes, count, at);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t at)
{
    return write_fails(descriptor) ? -1 : REAL(pwrite64)(descriptor, bytes, count, at);
}

static void shift(struct timespec *now)
{
    int64_t offset_ms = control->clock_offset_ms;
    now->tv_sec += offset_ms / 1000;
    now->tv_nsec += (offset_ms % 1000) * 1000000;
    if (now->tv_nsec >= 1000000000) {
        now->tv_nsec -= 1000000000;
        now->tv_sec++;
    } else if (now->tv_nsec < 0) {
        now->tv_nsec += 1000000000;
        now->tv_sec--;
    }
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static __typeof__(&clock_gettime) real;
    if (!real)
        real = REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && control->clock_offset_ms && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(now);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (result)
        *result = exact.tv_sec;
    return exact.tv_sec;
}
