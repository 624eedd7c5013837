/* SPDX-License-Identifier: MIT */
/*
 * A file that says that something is in use, and by whom. The lock is on the open file (flock), so
 * that it ends with the process however that ends; the pid in it is only for the sentence that the
 * second one says. Only its holder removes it, and who has locked it looks whether it is still
 * there: who holds a removed one keeps nobody out.
 *
 * These calls block, for as long as a file takes to open.
 */
#ifndef WEIR_QUEUE_LOCKFILE_H
#define WEIR_QUEUE_LOCKFILE_H

enum { WEIR__LOCKFILE_PID = 24 };

/* A descriptor, which is the lock until it is closed; -EBUSY and whose it is, "unknown" if that is
 * not known; or -Exxx. */
int weir__lockfile(const char *file, char ret_pid[WEIR__LOCKFILE_PID]);
/* Ends the lock, and its file with it. */
void weir__lockfile_remove(int fd, const char *file);

#endif
