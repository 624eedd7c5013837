/* SPDX-License-Identifier: MIT */
static weir_group group;
static weir_store *store;
