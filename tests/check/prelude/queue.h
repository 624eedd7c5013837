/* SPDX-License-Identifier: MIT */
static weir_store *store;
static weir_job *job;
static weir_take_options opt;
static char id[27];
void send(weir_job *job);
