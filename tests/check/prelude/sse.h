/* SPDX-License-Identifier: MIT */
extern weir_http *x;
extern weir_ctx live;
extern weir_hub *hub;
