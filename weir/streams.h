/* SPDX-License-Identifier: MIT */
/* A message as a stream with ?format=json shows it. */
#ifndef WEIR_PROGRAM_STREAMS_H
#define WEIR_PROGRAM_STREAMS_H

#include <weir/bus.h>

#include "base/buf.h"

void streams_render(struct weir__buf *b, const weir_msg *m);

#endif
