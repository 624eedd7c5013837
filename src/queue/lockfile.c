/* SPDX-License-Identifier: MIT */
#include "queue/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int whose(int fd, char ret_pid[WEIR__LOCKFILE_PID])
{
	ssize_t n = read(fd, ret_pid, WEIR__LOCKFILE_PID - 1);

	ret_pid[n > 0 ? n : 0] = '\0';
	ret_pid[strcspn(ret_pid, "\n")] = '\0';
	if (!ret_pid[0])
		memcpy(ret_pid, "unknown", sizeof "unknown");
	return -EBUSY;
}

static int sign(int fd)
{
	char pid[WEIR__LOCKFILE_PID];
	int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());

	if (ftruncate(fd, 0) < 0)
		return -errno;
	if (pwrite(fd, pid, (size_t)n, 0) != n)
		return -EIO;
	return fd;
}

int weir__lockfile(const char *file, char ret_pid[WEIR__LOCKFILE_PID])
{
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		r = sign(fd);
	else
		r = errno == EWOULDBLOCK ? whose(fd, ret_pid) : -errno;
	if (r < 0)
		close(fd);
	return r;
}
