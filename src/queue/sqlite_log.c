/* SPDX-License-Identifier: MIT */
/*
 * SQLite's log (PATH-wal): room in it, and bringing it home.
 *
 * A sync of a file that has grown also writes the file system's journal and costs twice one of a
 * file that has not. SQLite overwrites its log from the beginning once it has come home, so that
 * is so for as long as the log has not had its full length. Therefore zeros are written ahead,
 * many frames at once. To SQLite they are what remains of an earlier log: a frame counts only
 * when its salt and its checksum are right.
 *
 * They are written inside a transaction, behind the file's end: no other process can append to the
 * log meanwhile, and none reads there.
 *
 * Rejected: to allocate without writing. Such blocks are marked as never written, and their first
 * write is again one for the file system's journal.
 */
#include "queue/sqlite.h"

enum {
	FRAME = 24 + 4096,
	AHEAD = 64, /* frames */
	SOON = 16,  /* so little room is left when more is made */
};

int weir__sqlite_log_frames = 4096;

void weir__sqlite_log_room(struct weir__sqlite *q)
{
	static const char *const names[] = { "main", "more" };
	static const char zeros[AHEAD * FRAME / 8];
	int which = q->more, frames = q->log[which];
	sqlite3_int64 at = 0, to;
	sqlite3_file *f = NULL;

	if (frames + SOON < q->log_room[which] || frames >= weir__sqlite_log_frames)
		return;
	if (sqlite3_file_control(q->db, names[which], SQLITE_FCNTL_JOURNAL_POINTER, &f) !=
	            SQLITE_OK ||
	    !f || !f->pMethods || f->pMethods->xFileSize(f, &at) != SQLITE_OK)
		return;
	frames =
		frames + AHEAD < weir__sqlite_log_frames ? frames + AHEAD : weir__sqlite_log_frames;
	to = (sqlite3_int64)frames * FRAME;
	while (at < to) {
		int n = to - at < (int)sizeof zeros ? (int)(to - at) : (int)sizeof zeros;

		/* Where the disk has no room the log itself will say so. */
		if (f->pMethods->xWrite(f, zeros, n, at) != SQLITE_OK)
			break;
		at += n;
	}
	q->log_room[which] = (int)(at / FRAME);
}

/* The log comes home when it is worth it; where it would grow over its cap, something else is
 * done. */
void weir__sqlite_log_mind(struct weir__sqlite *q)
{
	static const char *const names[] = { "main", "more" };
	int which = q->more;

	if (q->log[which] >= weir__sqlite_log_frames && q->log[which] >= q->log_next) {
		int code = sqlite3_wal_checkpoint_v2(q->db, names[which], SQLITE_CHECKPOINT_PASSIVE,
		                                     NULL, NULL);

		if (code != SQLITE_OK)
			weir__sqlite_error(q, code, "bringing its log home");
		/* While somebody reads it goes on growing: not again after every write. */
		q->log_next = q->log[which] + weir__sqlite_log_frames;
	}
	if (q->log[which] < weir__sqlite_log_frames)
		q->log_next = 0;
	if (!q->more && q->log[0] >= weir__sqlite_log_cap)
		(void)weir__sqlite_more_begin(q);
	else if (q->more)
		weir__sqlite_more_step(q);
}
