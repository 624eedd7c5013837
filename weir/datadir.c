/* SPDX-License-Identifier: MIT */
/*
 * The data directory: one weir at a time, and a secret that outlives it.
 *
 * The lock is on an open file (flock), so that it ends with the process however that ends; the pid
 * in the file is only for the sentence that the second weir prints. All of this happens before
 * tasks run, so it may block.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "base/log.h"

char *datadir_file(const char *path, const char *name)
{
	char *file;

	return asprintf(&file, "%s/%s", path, name) < 0 ? NULL : file;
}

/* mkdir -p, for its owner only. */
static int make(const char *path)
{
	char *copy = strdup(path);
	int r = 0;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; r == 0; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			r = -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	free(copy);
	return r;
}

static int lock(const char *path, const char *file)
{
	char pid[32];
	ssize_t n;
	int fd, r;

	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		n = r == -EWOULDBLOCK ? read(fd, pid, sizeof pid - 1) : 0;
		pid[n > 0 ? n : 0] = '\0';
		pid[strcspn(pid, "\n")] = '\0';
		close(fd);
		if (r != -EWOULDBLOCK)
			return r;
		weir__log(WEIR__ERROR, "data", "%s is in use by another weir, pid %s", path,
		          pid[0] ? pid : "unknown");
		return -EBUSY;
	}
	n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		r = -errno;
		close(fd);
		return r;
	}
	return 0; /* The descriptor stays open: it is the lock. */
}

int datadir_open(const char *path)
{
	char *file = datadir_file(path, "lock");
	int r = file ? make(path) : -ENOMEM;

	if (r == 0)
		r = lock(path, file);
	if (r < 0 && r != -EBUSY)
		weir__log(WEIR__ERROR, "data", "%s: %s", path, strerror(-r));
	free(file);
	return r;
}

int datadir_secret(const char *path, unsigned char ret[32])
{
	char *file = datadir_file(path, "secret");
	int fd = -1, r = 0;

	if (!file)
		return -ENOMEM;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = -errno;
		goto out;
	}
	if (read(fd, ret, 32) == 32)
		goto out;
	if (getrandom(ret, 32, 0) != 32 || pwrite(fd, ret, 32, 0) != 32 ||
	    fsync(fd) < 0) /* nothing else runs yet */
		r = -EIO;
out:
	if (r < 0)
		weir__log(WEIR__ERROR, "data", "%s: %s", file, strerror(-r));
	if (fd >= 0)
		close(fd);
	free(file);
	return r;
}
