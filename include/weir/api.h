/* SPDX-License-Identifier: MIT */
/*
 * What every public header needs: visibility, C linkage, and the place of a call.
 *
 * Results, everywhere: 0 or a positive number is success, -Exxx is failure, errno is never the
 * answer. Receive-like calls have read(2)'s shape: 1 got one, 0 closed and empty, < 0 error.
 * -ECANCELED, -ETIMEDOUT and -ESHUTDOWN come only from a context, -EAGAIN only from try_ calls,
 * -EPIPE from sending to what is closed. On failure the caller still owns what it passed.
 */
#ifndef WEIR_API_H
#define WEIR_API_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define WEIR_BEGIN extern "C" {
#define WEIR_END   }
#else
#define WEIR_BEGIN
#define WEIR_END
#endif

#define WEIR_API              __attribute__((visibility("default")))
#define WEIR_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))
#define WEIR_MUST_USE         __attribute__((warn_unused_result))

/* "file.c:12", the place where a task, channel or group was made; it shows up in weir_dump(). */
#define WEIR_STR_(x) #x
#define WEIR_STR(x)  WEIR_STR_(x)
#define WEIR_HERE    __FILE__ ":" WEIR_STR(__LINE__)

#endif
