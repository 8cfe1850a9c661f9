/* Loaded into a process before the C library: a kernel that stamps nothing that arrives. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int setsockopt(int socket, int level, int name, const void *value, socklen_t length) {
    if (level == SOL_SOCKET && name == SO_TIMESTAMPNS) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, socket, level, name, value, length);
}
