/* SPDX-License-Identifier: MIT */
/* CRC-32C (Castagnoli, as in RFC 3720 §12.1): finds damage in files; no defence against people.
 * Start with 0 and chain. */
#ifndef WEIR_BASE_CRC_H
#define WEIR_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t weir__crc32c(uint32_t crc, const void *data, size_t n);

#endif
