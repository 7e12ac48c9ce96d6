/*
 * fsync_shim: what did a server really put on the disk, and what if its disk is slow, or fails?
 *
 * Loaded into the server by LD_PRELOAD. It stands between the program and fsync/fdatasync, for files that end in ".aof":
 *
 *   - before the call it notes how long the file is, and when the call has succeeded it writes that length (8 bytes, the
 *     machine's order) to $FSYNC_SHIM_DIR/<name of the file>.synced: so much is on the disk for certain;
 *   - $FSYNC_SHIM_DIR/control, if it is there, says "<delay_ms> <fail>": wait so long first; with fail 1, return EIO instead.
 *
 * Each file cut back to the noted length is what a power cut leaves in the worst case.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int (*sync_call)(int);

/* The file's own name if it is one that is watched, or NULL. */
static const char *watched(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 4) return NULL;
    path[length] = '\0';
    if (strcmp(path + length - 4, ".aof") != 0) return NULL;
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static void read_control(const char *dir, long *delay_ms, int *fail) {
    char path[PATH_MAX], text[64];
    snprintf(path, sizeof path, "%s/control", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return;
    text[length] = '\0';
    sscanf(text, "%ld %d", delay_ms, fail);
}

static void note(const char *dir, const char *name, int64_t synced) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.synced", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (pwrite(fd, &synced, sizeof synced, 0) != (ssize_t)sizeof synced) abort();
    close(fd);
}

static int watch(int fd, const char *symbol) {
    sync_call real = (sync_call)dlsym(RTLD_NEXT, symbol);
    const char *dir = getenv("FSYNC_SHIM_DIR");
    char path[PATH_MAX];
    const char *name = dir == NULL ? NULL : watched(fd, path, sizeof path);
    if (name == NULL) return real(fd);

    long delay_ms = 0;
    int fail = 0;
    read_control(dir, &delay_ms, &fail);
    struct stat before;
    if (fstat(fd, &before) != 0) return -1;
    if (delay_ms > 0) {
        struct timespec rest = {delay_ms / 1000, (delay_ms % 1000) * 1000000L};
        while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {}
    }
    if (fail) {
        errno = EIO;
        return -1;
    }
    int answer = real(fd);
    if (answer == 0) note(dir, name, (int64_t)before.st_size);
    return answer;
}

int fsync(int fd) { return watch(fd, "fsync"); }

int fdatasync(int fd) { return watch(fd, "fdatasync"); }
