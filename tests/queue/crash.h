/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory, as a SQLite VFS, that keeps apart what was written and what was synced. A crash
 * leaves of each write that no sync came after all, nothing or some sectors, in any order, as the
 * seed says. From its crash until disk_restart() every call of it fails.
 *
 * `disk_skip` plants a missing sync: those of one kind are not done.
 */
#ifndef CRASH_H
#define CRASH_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

enum disk_sync { SYNC_NONE, SYNC_LOG, SYNC_LOG_HEAD, SYNC_DATABASE, SYNC_KINDS };

void disk_init(uint64_t seed); /* empty, and SQLite's default from here */
void disk_fini(void);
void disk_crash_after(int calls); /* writes and syncs */
bool disk_crashed(void);
void disk_restart(void);
extern enum disk_sync disk_skip;
extern int disk_synced[SYNC_KINDS]; /* how many were done or skipped */

#endif
