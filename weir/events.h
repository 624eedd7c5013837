/* SPDX-License-Identifier: MIT */
/* A job's change on its way to the bus. */
#ifndef WEIR_PROGRAM_EVENTS_H
#define WEIR_PROGRAM_EVENTS_H

#include "app.h"

#define JOB_CHANGE_HEADER "Weir-Change"

struct job_message {
	char subject[JOB_SUBJECT_MAX];
	char headers[40]; /* "Weir-Change: 3\r\n", the number of the job's change */
	size_t len;
	char data[]; /* {"event":…,"job":{…}} */
};

#endif
