/* A disk that a test can fill, and cut the power of: preloaded into the process whose files it is about.
 *
 * DISK_ROOT    the directory; other files are left alone
 * DISK_FULL    while this file exists, nothing can be written: ENOSPC
 * DISK_SHADOW  a directory that gets what each file held when it was synchronised last, under its `disk_name`: so much of
 *              it a power cut would leave
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int below_root(const char *path) {
    const char *root = getenv("DISK_ROOT");
    size_t length = root ? strlen(root) : 0;
    return root && strncmp(path, root, length) == 0 && (path[length] == '/' || !path[length]);
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below_root(path);
}

static int is_full(int descriptor) {
    char path[PATH_MAX];
    const char *mark = getenv("DISK_FULL");
    return mark && access(mark, F_OK) == 0 && path_of(descriptor, path);
}

/* Write what no other file of the disk is or was ever called, whatever its path: its inode's number alone goes to another
 * file once it is deleted. Return whether there is such a file. */
int disk_name(const char *path, char *name, size_t size) {
    struct statx is;
    if (statx(AT_FDCWD, path, 0, STATX_TYPE | STATX_INO | STATX_BTIME, &is) || !S_ISREG(is.stx_mode)) return 0;
    snprintf(name, size, "%llu-%lld.%09u", (unsigned long long)is.stx_ino, (long long)is.stx_btime.tv_sec,
             is.stx_btime.tv_nsec);
    return 1;
}

/* Copy what the file holds now over what is kept of it; only pages that differ are written. */
static void keep(const char *path) {
    char shadow[PATH_MAX], name[64];
    const char *place = getenv("DISK_SHADOW");
    if (!place || !below_root(path) || !disk_name(path, name, sizeof name)) return;
    snprintf(shadow, sizeof shadow, "%s/%s", place, name);
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    pthread_mutex_lock(&lock);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(shadow, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    static char here[65536], there[65536];
    off_t at = 0;
    ssize_t got;
    while (from >= 0 && to >= 0 && (got = pread(from, here, sizeof here, at)) > 0) {
        if (pread(to, there, got, at) != got || memcmp(here, there, got)) real(to, here, got, at);
        at += got;
    }
    if (to >= 0 && ftruncate(to, at)) {}
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    pthread_mutex_unlock(&lock);
}

static void keep_descriptor(int descriptor) {
    char path[PATH_MAX];
    if (path_of(descriptor, path)) keep(path);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (descriptor > 2 && is_full(descriptor)) { errno = ENOSPC; return -1; }
    return real(descriptor, data, size);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    if (is_full(descriptor)) { errno = ENOSPC; return -1; }
    return real(descriptor, data, size, at);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) { return pwrite64(descriptor, data, size, at); }

int fsync(int descriptor) {
    REAL(int, "fsync", int);
    if (is_full(descriptor)) { errno = EIO; return -1; }
    int result = real(descriptor);
    if (result == 0) keep_descriptor(descriptor);
    return result;
}

int fdatasync(int descriptor) {
    REAL(int, "fdatasync", int);
    if (is_full(descriptor)) { errno = EIO; return -1; }
    int result = real(descriptor);
    if (result == 0) keep_descriptor(descriptor);
    return result;
}

int msync(void *address, size_t size, int flags) {
    REAL(int, "msync", void *, size_t, int);
    int result = real(address, size, flags);
    if (result || !(flags & MS_SYNC)) return result;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[PATH_MAX + 100], path[PATH_MAX];
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095[^\n]", &begin, &end, path) == 3 &&
            (unsigned long)address >= begin && (unsigned long)address < end) {
            keep(path);
            break;
        }
    }
    if (maps) fclose(maps);
    return result;
}
