/* SPDX-License-Identifier: MIT */
extern weir_listener *listener;
