/* SPDX-License-Identifier: MIT */
#include "queue/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 100 };

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

/* Is what was opened still the file of that name? Its holder may have removed it in between. */
static bool is_there(int fd, const char *file)
{
	struct stat mine, there;

	return fstat(fd, &mine) == 0 && stat(file, &there) == 0 && mine.st_ino == there.st_ino &&
	       mine.st_dev == there.st_dev;
}

int weir__lockfile(const char *file, char ret_pid[WEIR__LOCKFILE_PID])
{
	for (int try = 0; try < TRIES; try++) {
		int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600), r;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			r = is_there(fd, file) ? sign(fd) : -ESTALE;
		else
			r = errno == EWOULDBLOCK ? whose(fd, ret_pid) : -errno;
		if (r >= 0)
			return r;
		close(fd);
		if (r != -ESTALE)
			return r;
	}
	memcpy(ret_pid, "unknown", sizeof "unknown");
	return -EBUSY; /* Others make and remove it all the time. */
}

void weir__lockfile_remove(int fd, const char *file)
{
	if (is_there(fd, file))
		(void)unlink(file);
	close(fd);
}
