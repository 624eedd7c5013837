/* SPDX-License-Identifier: MIT */
extern char *argv[];
extern const void *data;
extern size_t n;
