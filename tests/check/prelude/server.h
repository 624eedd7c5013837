/* SPDX-License-Identifier: MIT */
weir_http_fn hello;
