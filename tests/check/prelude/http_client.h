/* SPDX-License-Identifier: MIT */
static weir_http_res res;
static char buf[100];
