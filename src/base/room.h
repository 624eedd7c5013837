/* SPDX-License-Identifier: MIT */
/*
 * Room on the heap ahead of what will stay there for long. The C library lets the heap of a thread
 * that is not the first grow a page at a time, each by a system call and each touched by a fault of
 * its own: a backlog of small things pays both for every few of them. Who says what is about to be
 * kept gets room for 96 KiB of it at once.
 *
 * A hint: nothing is kept for it, without memory nothing happens, and simulated refusals of memory
 * do not reach it. Under AddressSanitizer, whose heap is another, it does nothing.
 */
#ifndef WEIR_BASE_ROOM_H
#define WEIR_BASE_ROOM_H

#include <stddef.h>

/* The calling thread is about to allocate n bytes that stay. Any thread. */
void weir__room_ahead(size_t n);

#endif
