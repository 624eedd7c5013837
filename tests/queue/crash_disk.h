/* SPDX-License-Identifier: MIT */
/* What crash.h declares, for the one program that uses it. */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdlib.h>
#include <string.h>

#include "crash.h"

enum { FILES = 8, SHM = 32, SECTOR = 512 };

struct op { /* a write, or (data is NULL) a truncation, that is not synced */
	struct op *next;
	int64_t at, len;
	unsigned char *data;
};

struct body {
	unsigned char *data;
	int64_t len;
};

struct inode {
	char name[96];
	struct body now, disk;
	struct op *ops, **last;
	void *shm[SHM];
	int opens;
};

struct handle {
	sqlite3_file base;
	struct inode *inode;
	bool temporary;
};

static struct {
	struct inode files[FILES];
	uint64_t rng;
	int left; /* calls until the crash; < 0: none */
	bool dead;
} disk;
enum disk_sync disk_skip;
int disk_synced[SYNC_KINDS];

static uint32_t roll(uint32_t n)
{
	uint64_t x = disk.rng;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	disk.rng = x;
	return (uint32_t)((x * 0x2545f4914f6cdd1du >> 33) % n);
}

static void body_write(struct body *b, const void *data, int64_t at, int64_t len)
{
	if (at + len > b->len) {
		b->data = realloc(b->data, (size_t)(at + len));
		memset(b->data + b->len, 0, (size_t)(at + len - b->len));
		b->len = at + len;
	}
	memcpy(b->data + at, data, (size_t)len);
}

static void body_cut(struct body *b, int64_t len)
{
	if (len < b->len)
		b->len = len;
}

static void ops_free(struct inode *i)
{
	while (i->ops) {
		struct op *o = i->ops;

		i->ops = o->next;
		free(o->data);
		free(o);
	}
	i->last = &i->ops;
}

static void shm_free(struct inode *i)
{
	for (int k = 0; k < SHM; k++) {
		free(i->shm[k]);
		i->shm[k] = NULL;
	}
}

static void inode_free(struct inode *i)
{
	ops_free(i);
	shm_free(i);
	free(i->now.data);
	free(i->disk.data);
	memset(i, 0, sizeof *i);
}

/* False: the power is gone. */
static bool alive(void)
{
	if (!disk.dead && disk.left >= 0 && disk.left-- == 0)
		disk.dead = true;
	return !disk.dead;
}

static void add_op(struct inode *i, const void *data, int64_t at, int64_t len)
{
	struct op *o = calloc(1, sizeof *o);

	o->at = at;
	o->len = len;
	if (data) {
		o->data = malloc((size_t)len);
		memcpy(o->data, data, (size_t)len);
	}
	if (!i->last)
		i->last = &i->ops;
	*i->last = o;
	i->last = &o->next;
}

static void apply(struct body *b, const struct op *o)
{
	if (o->data)
		body_write(b, o->data, o->at, o->len);
	else
		body_cut(b, o->at);
}

/* Some of its sectors. */
static void tear(struct body *b, const struct op *o)
{
	for (int64_t at = 0; o->data && at < o->len; at += SECTOR)
		if (roll(2))
			body_write(b, o->data + at, o->at + at,
			           o->len - at < SECTOR ? o->len - at : SECTOR);
}

static int file_close(sqlite3_file *f)
{
	struct handle *h = (struct handle *)f;

	h->inode->opens--;
	if (h->temporary)
		inode_free(h->inode);
	return SQLITE_OK;
}

static int file_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	const struct body *b = &((struct handle *)f)->inode->now;
	int64_t have = at < b->len ? b->len - at : 0;

	if (disk.dead)
		return SQLITE_IOERR_READ;
	if (have > n)
		have = n;
	if (have)
		memcpy(buf, b->data + at, (size_t)have);
	memset((char *)buf + have, 0, (size_t)(n - have));
	return have == n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *f, const void *data, int n, sqlite3_int64 at)
{
	struct inode *i = ((struct handle *)f)->inode;

	if (!alive())
		return SQLITE_IOERR_WRITE;
	body_write(&i->now, data, at, n);
	add_op(i, data, at, n);
	return SQLITE_OK;
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 len)
{
	struct inode *i = ((struct handle *)f)->inode;

	if (!alive())
		return SQLITE_IOERR_TRUNCATE;
	body_cut(&i->now, len);
	add_op(i, NULL, len, 0);
	return SQLITE_OK;
}

static enum disk_sync kind_of(const struct inode *i)
{
	size_t n = strlen(i->name);

	if (n < 4 || strcmp(i->name + n - 4, "-wal"))
		return SYNC_DATABASE;
	return i->ops && !i->ops->next && i->ops->data && i->ops->len == 32 ? SYNC_LOG_HEAD :
	                                                                      SYNC_LOG;
}

enum { SOON = 6 };

static int file_sync(sqlite3_file *f, int flags)
{
	struct inode *i = ((struct handle *)f)->inode;
	enum disk_sync kind = kind_of(i);

	(void)flags;
	if (!alive())
		return SQLITE_IOERR_FSYNC;
	if (!i->ops)
		return SQLITE_OK;
	disk_synced[kind]++;
	if (kind == disk_skip) {
		/* It matters until the next one: so that is when the power goes, now and then. */
		if (disk.left > SOON && roll(2) == 0)
			disk.left = (int)roll(SOON);
		return SQLITE_OK;
	}
	for (const struct op *o = i->ops; o; o = o->next)
		apply(&i->disk, o);
	ops_free(i);
	return SQLITE_OK;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	*ret = ((struct handle *)f)->inode->now.len;
	return SQLITE_OK;
}

static int file_lock(sqlite3_file *f, int level)
{
	(void)f;
	(void)level;
	return SQLITE_OK;
}

static int file_reserved(sqlite3_file *f, int *ret)
{
	(void)f;
	*ret = 0;
	return SQLITE_OK;
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
	(void)f;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *f)
{
	(void)f;
	return SECTOR;
}

static int file_traits(sqlite3_file *f)
{
	(void)f;
	return 0;
}

static int shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	struct inode *i = ((struct handle *)f)->inode;

	if (page < SHM && !i->shm[page] && extend)
		i->shm[page] = calloc(1, (size_t)size);
	*ret = page < SHM ? i->shm[page] : NULL;
	return SQLITE_OK;
}

static int shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	(void)f;
	(void)at;
	(void)n;
	(void)flags;
	return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *f)
{
	(void)f;
}

static int shm_unmap(sqlite3_file *f, int drop)
{
	if (drop)
		shm_free(((struct handle *)f)->inode);
	return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_reserved,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_traits,
	.xShmMap = shm_map,
	.xShmLock = shm_lock,
	.xShmBarrier = shm_barrier,
	.xShmUnmap = shm_unmap,
};

static struct inode *find(const char *name)
{
	for (int i = 0; i < FILES; i++)
		if (*disk.files[i].name && !strcmp(disk.files[i].name, name))
			return &disk.files[i];
	return NULL;
}

static int disk_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret)
{
	struct handle *h = (struct handle *)f;

	(void)v;
	h->base.pMethods = NULL;
	if (disk.dead)
		return SQLITE_CANTOPEN;
	h->temporary = !name;
	h->inode = name ? find(name) : NULL;
	for (int i = 0; !h->inode && i < FILES; i++)
		if (!*disk.files[i].name) {
			h->inode = &disk.files[i];
			h->inode->last = &h->inode->ops;
			strncpy(h->inode->name, name ? name : "temporary",
			        sizeof h->inode->name - 1);
		}
	if (!h->inode)
		return SQLITE_CANTOPEN;
	h->inode->opens++;
	h->base.pMethods = &methods;
	if (ret)
		*ret = flags;
	return SQLITE_OK;
}

static int disk_delete(sqlite3_vfs *v, const char *name, int sync)
{
	struct inode *i = find(name);

	(void)v;
	(void)sync;
	if (!alive())
		return SQLITE_IOERR_DELETE;
	if (i)
		inode_free(i);
	return SQLITE_OK;
}

static int disk_access(sqlite3_vfs *v, const char *name, int flags, int *ret)
{
	const struct inode *i = find(name);

	(void)v;
	*ret = i && (flags != SQLITE_ACCESS_EXISTS || i->now.len);
	return SQLITE_OK;
}

static int disk_path(sqlite3_vfs *v, const char *name, int n, char *ret)
{
	(void)v;
	strncpy(ret, name, (size_t)n - 1);
	ret[n - 1] = 0;
	return SQLITE_OK;
}

static int disk_random(sqlite3_vfs *v, int n, char *ret)
{
	(void)v;
	for (int i = 0; i < n; i++)
		ret[i] = (char)roll(256);
	return n;
}

static int disk_sleep(sqlite3_vfs *v, int us)
{
	(void)v;
	return us;
}

static int disk_time(sqlite3_vfs *v, double *ret)
{
	(void)v;
	*ret = 2461000.5;
	return SQLITE_OK;
}

static sqlite3_vfs vfs = {
	.iVersion = 1,
	.szOsFile = sizeof(struct handle),
	.mxPathname = 90,
	.zName = "crash",
	.xOpen = disk_open,
	.xDelete = disk_delete,
	.xAccess = disk_access,
	.xFullPathname = disk_path,
	.xRandomness = disk_random,
	.xSleep = disk_sleep,
	.xCurrentTime = disk_time,
};

void disk_init(uint64_t seed)
{
	disk_fini();
	disk.rng = seed * 0x9e3779b97f4a7c15u | 1;
	disk.left = -1;
	disk.dead = false;
	sqlite3_vfs_register(&vfs, 1);
	sqlite3_randomness(0, NULL); /* Its numbers begin anew, with this disk's. */
}

void disk_fini(void)
{
	for (int i = 0; i < FILES; i++)
		inode_free(&disk.files[i]);
}

void disk_crash_after(int calls)
{
	disk.left = calls;
}

bool disk_crashed(void)
{
	return disk.dead;
}

void disk_restart(void)
{
	uint32_t how = roll(4);

	for (int k = 0; k < FILES; k++) {
		struct inode *i = &disk.files[k];
		int n = 0;

		if (!*i->name)
			continue;
		for (struct op *o = i->ops; o; o = o->next)
			n++;
		/* Those that are kept in a random order: each goes to the front of what is left,
		 * or not. */
		for (; n > 0; n--) {
			struct op **at = &i->ops, *o;

			if (how == 3) /* reordered */
				for (uint32_t skip = roll((uint32_t)n); skip > 0; skip--)
					at = &(*at)->next;
			o = *at;
			*at = o->next;
			switch (how == 0 ? 0 : how == 1 ? 1 : roll(3)) {
			case 0:
				break;
			case 1:
				apply(&i->disk, o);
				break;
			default:
				tear(&i->disk, o);
			}
			free(o->data);
			free(o);
		}
		i->last = &i->ops;
		free(i->now.data);
		i->now.len = i->disk.len;
		i->now.data = malloc((size_t)i->now.len + 1);
		if (i->now.len)
			memcpy(i->now.data, i->disk.data, (size_t)i->now.len);
		shm_free(i);
	}
	disk.dead = false;
	disk.left = -1;
}

#endif
