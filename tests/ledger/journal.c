/* Preloaded into a gateway: journals, in order, what happens to the files of one directory, and what is sent to one port.
 *
 * Environment: CADUCEUS_JOURNAL (the file that is appended to), CADUCEUS_JOURNAL_DIRECTORY, CADUCEUS_JOURNAL_PORT. They and LD_PRELOAD are
 * removed, so that no child of the gateway has them.
 *
 * A record is a header and a payload, in the byte order of the machine. One lock is held for each call and its record, so the order of
 * the records is that of the calls. Some files are opened past this library, by system calls: a file is recognised when it is first used,
 * and a sync of the directory records all names in it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct header {
    uint64_t kind;   /* a letter */
    uint64_t id;     /* inode, or local port */
    uint64_t offset; /* of a write; the size after a truncation */
    uint64_t length; /* of the payload */
};

static int journal = -1;
static pid_t owner;
static int port;
static char directory[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Inodes whose names are recorded. */
static uint64_t known[4096];
static int known_count;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

/* By the system call, so that no hook is entered. */
static void put(const void *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = syscall(SYS_write, journal, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) abort();
        bytes = (const char *)bytes + written;
        length -= (size_t)written;
    }
}

static void record(char kind, uint64_t id, uint64_t offset, const void *payload, size_t length) {
    struct header header = {(uint64_t)kind, id, offset, length};
    put(&header, sizeof header);
    put(payload, length);
}

static int is_left_out(const char *name) {
    size_t length = strlen(name);
    return (length >= 4 && !strcmp(name + length - 4, "-shm")) || (length >= 5 && !strcmp(name + length - 5, ".lock"));
}

/* The name of `path` in the directory, or NULL. */
static const char *name_of(const char *path) {
    size_t length = strlen(directory);
    if (strncmp(path, directory, length) || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    return strchr(name, '/') || is_left_out(name) ? NULL : name;
}

static void set_known(uint64_t inode) {
    for (int i = 0; i < known_count; i++)
        if (known[i] == inode) return;
    if (known_count == (int)(sizeof known / sizeof *known)) abort();
    known[known_count++] = inode;
}

/* Records all names: `name` TAB `inode` LF. */
static void record_names(char kind) {
    static char names[65536];
    size_t length = 0;
    DIR *open = opendir(directory);
    struct dirent *entry;
    while (open && (entry = readdir(open))) {
        if (entry->d_name[0] == '.' || is_left_out(entry->d_name)) continue;
        length += (size_t)snprintf(names + length, sizeof names - length, "%s\t%llu\n", entry->d_name, (unsigned long long)entry->d_ino);
        if (length >= sizeof names) abort();
        set_known(entry->d_ino);
    }
    if (open) closedir(open);
    record(kind, 0, 0, names, length);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CADUCEUS_JOURNAL"), *of = getenv("CADUCEUS_JOURNAL_DIRECTORY");
    const char *peer = getenv("CADUCEUS_JOURNAL_PORT");
    if (!path || !of || !peer) return;
    snprintf(directory, sizeof directory, "%s", of);
    port = atoi(peer);
    owner = getpid();
    int opened = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Where no other code expects a number. */
    journal = fcntl(opened, F_DUPFD_CLOEXEC, 900);
    if (opened < 0 || journal < 0) abort();
    syscall(SYS_close, opened);
    const char *names[] = {"LD_PRELOAD", "CADUCEUS_JOURNAL", "CADUCEUS_JOURNAL_DIRECTORY", "CADUCEUS_JOURNAL_PORT"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    record_names('P');
}

/* Whether calls are journalled: not in a child between fork and exec, whose lock may be held by another thread. */
static int is_on(void) { return journal >= 0 && getpid() == owner; }

enum target { OTHER, FILE_OF_OURS, DIRECTORY_OF_OURS, SOCKET_OF_OURS };

/* What a descriptor is. Under the lock. */
static enum target classify(int fd, uint64_t *id) {
    struct stat found;
    if (fstat(fd, &found)) return OTHER;
    if (S_ISSOCK(found.st_mode)) {
        struct sockaddr_in peer, own;
        socklen_t length = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &length) || peer.sin_family != AF_INET) return OTHER;
        if (ntohs(peer.sin_port) != port) return OTHER;
        length = sizeof own;
        if (getsockname(fd, (struct sockaddr *)&own, &length)) return OTHER;
        *id = ntohs(own.sin_port);
        return SOCKET_OF_OURS;
    }
    if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) return OTHER;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return OTHER;
    path[length] = 0;
    if (S_ISDIR(found.st_mode)) return strcmp(path, directory) ? OTHER : DIRECTORY_OF_OURS;
    *id = found.st_ino;
    for (int i = 0; i < known_count; i++)
        if (known[i] == found.st_ino) return FILE_OF_OURS;
    const char *name = name_of(path);
    if (!name) return OTHER;
    set_known(found.st_ino);
    record('N', found.st_ino, 0, name, strlen(name));
    return FILE_OF_OURS;
}

static int saved_errno;
#define BEGIN pthread_mutex_lock(&lock)
#define END (saved_errno = errno, pthread_mutex_unlock(&lock), errno = saved_errno)

static void join(const struct iovec *parts, int count, char **bytes, size_t *length) {
    *length = 0;
    for (int i = 0; i < count; i++) *length += parts[i].iov_len;
    char *at = *bytes = malloc(*length + 1);
    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
}

/* What was written to a file. */
static void wrote(uint64_t id, off64_t at, const void *bytes, ssize_t length) {
    if (length > 0) record('W', id, (uint64_t)at, bytes, (size_t)length);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    __typeof__(&write) next = REAL(write);
    if (!is_on()) return next(fd, bytes, length);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    off64_t at = target == FILE_OF_OURS ? lseek64(fd, 0, SEEK_CUR) : 0;
    if (target == SOCKET_OF_OURS) record('X', id, 0, bytes, length);
    ssize_t written = next(fd, bytes, length);
    if (target == FILE_OF_OURS) wrote(id, at, bytes, written);
    if (target == SOCKET_OF_OURS && written != (ssize_t)length) record('Y', id, written < 0 ? 0 : (uint64_t)written, "", 0);
    END;
    return written;
}

static ssize_t write_at(int fd, const void *bytes, size_t length, off64_t at) {
    __typeof__(&pwrite64) next = REAL(pwrite64);
    if (!is_on()) return next(fd, bytes, length, at);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    ssize_t written = next(fd, bytes, length, at);
    if (target == FILE_OF_OURS) wrote(id, at, bytes, written);
    END;
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return write_at(fd, bytes, length, at); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return write_at(fd, bytes, length, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    __typeof__(&writev) next = REAL(writev);
    if (!is_on()) return next(fd, parts, count);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    char *bytes = NULL;
    size_t length = 0;
    if (target == FILE_OF_OURS || target == SOCKET_OF_OURS) join(parts, count, &bytes, &length);
    off64_t at = target == FILE_OF_OURS ? lseek64(fd, 0, SEEK_CUR) : 0;
    if (target == SOCKET_OF_OURS) record('X', id, 0, bytes, length);
    ssize_t written = next(fd, parts, count);
    if (target == FILE_OF_OURS) wrote(id, at, bytes, written);
    if (target == SOCKET_OF_OURS && written != (ssize_t)length) record('Y', id, written < 0 ? 0 : (uint64_t)written, "", 0);
    END;
    free(bytes);
    return written;
}

/* These write to no file of the ledger. If one does one day, the gateway ends here. */
static void not_for_ours(int fd) {
    if (!is_on()) return;
    uint64_t id;
    BEGIN;
    if (classify(fd, &id) == FILE_OF_OURS) abort();
    END;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    not_for_ours(fd);
    return REAL(pwritev)(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    not_for_ours(fd);
    return REAL(pwritev64)(fd, parts, count, at);
}
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    not_for_ours(fd);
    return REAL(fallocate64)(fd, mode, at, length);
}
int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }

/* Copies go through `write`. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
    if (is_on()) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(copy_file_range)(in, in_at, out, out_at, length, flags);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t length);
ssize_t sendfile64(int out, int in, off64_t *at, size_t length) {
    if (is_on()) {
        errno = ENOSYS;
        return -1;
    }
    return REAL(sendfile64)(out, in, at, length);
}
ssize_t sendfile(int out, int in, off_t *at, size_t length);
ssize_t sendfile(int out, int in, off_t *at, size_t length) { return sendfile64(out, in, at, length); }

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length) {
    __typeof__(&sendto) next = REAL(sendto);
    if (!is_on()) return next(fd, bytes, length, flags, to, to_length);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    if (target == SOCKET_OF_OURS) record('X', id, 0, bytes, length);
    ssize_t sent = next(fd, bytes, length, flags, to, to_length);
    if (target == SOCKET_OF_OURS && sent != (ssize_t)length) record('Y', id, sent < 0 ? 0 : (uint64_t)sent, "", 0);
    END;
    return sent;
}
ssize_t send(int fd, const void *bytes, size_t length, int flags) { return sendto(fd, bytes, length, flags, NULL, 0); }

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    __typeof__(&sendmsg) next = REAL(sendmsg);
    if (!is_on()) return next(fd, message, flags);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    char *bytes = NULL;
    size_t length = 0;
    if (target == SOCKET_OF_OURS) {
        join(message->msg_iov, (int)message->msg_iovlen, &bytes, &length);
        record('X', id, 0, bytes, length);
    }
    ssize_t sent = next(fd, message, flags);
    if (target == SOCKET_OF_OURS && sent != (ssize_t)length) record('Y', id, sent < 0 ? 0 : (uint64_t)sent, "", 0);
    END;
    free(bytes);
    return sent;
}

static int truncate_to(int fd, off64_t size) {
    __typeof__(&ftruncate64) next = REAL(ftruncate64);
    if (!is_on()) return next(fd, size);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    int result = next(fd, size);
    if (target == FILE_OF_OURS && !result) record('T', id, (uint64_t)size, "", 0);
    END;
    return result;
}
int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }
int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }

static int sync_by(int (*next)(int), int fd) {
    if (!is_on()) return next(fd);
    BEGIN;
    uint64_t id;
    enum target target = classify(fd, &id);
    int result = next(fd);
    if (!result && target == FILE_OF_OURS) record('S', id, 0, "", 0);
    if (!result && target == DIRECTORY_OF_OURS) record_names('D');
    END;
    return result;
}
int fsync(int fd) { return sync_by(REAL(fsync), fd); }
int fdatasync(int fd) { return sync_by(REAL(fdatasync), fd); }

/* An inode that is held is not used again for another file. */
static void hold(const char *path) {
    if (name_of(path)) syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC | O_NOFOLLOW, 0);
}

static void record_pair(char kind, const char *from, const char *to) {
    char names[8192];
    int length = snprintf(names, sizeof names, "%s\n%s", from, to);
    record(kind, 0, 0, names, (size_t)length);
}

int rename(const char *from, const char *to) {
    __typeof__(&rename) next = REAL(rename);
    if (!is_on() || !name_of(from)) return next(from, to);
    BEGIN;
    hold(to);
    int result = next(from, to);
    if (!result && name_of(to)) record_pair('R', name_of(from), name_of(to));
    if (!result && !name_of(to)) record('U', 0, 0, name_of(from), strlen(name_of(from)));
    END;
    return result;
}

int unlink(const char *path) {
    __typeof__(&unlink) next = REAL(unlink);
    if (!is_on() || !name_of(path)) return next(path);
    BEGIN;
    hold(path);
    int result = next(path);
    if (!result) record('U', 0, 0, name_of(path), strlen(name_of(path)));
    END;
    return result;
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    __typeof__(&linkat) next = REAL(linkat);
    if (!is_on() || !name_of(from)) return next(from_at, from, to_at, to, flags);
    BEGIN;
    int result = next(from_at, from, to_at, to, flags);
    if (!result) record_pair('L', name_of(from), name_of(to));
    END;
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
