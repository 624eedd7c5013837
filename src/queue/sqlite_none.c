/* SPDX-License-Identifier: MIT */
/* What is left of durable stores where SQLite was not built in: weir_store_open() knows no such
 * engine, and their files cannot be looked at. */
#include <errno.h>
#include <weir/queue.h>

int weir_store_backup(const char *path, const char *to)
{
	(void)path;
	(void)to;
	return -EPROTONOSUPPORT;
}

int weir_store_check(const char *path, size_t *ret_jobs)
{
	(void)path;
	(void)ret_jobs;
	return -EPROTONOSUPPORT;
}
