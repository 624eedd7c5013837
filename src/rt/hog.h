/* SPDX-License-Identifier: MIT */
/* The watchdog's words about a task that has kept its worker for long. See hog.c. */
#ifndef WEIR_RT_HOG_H
#define WEIR_RT_HOG_H

struct weir__worker;

/* The program's signals are ours: places can be asked for. */
void weir__hog_init(void);
/* On the supervisor's thread. */
void weir__hog_report(struct weir__worker *w);

#endif
