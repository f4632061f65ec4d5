/* remote.h: --remote HOST: the same command on another machine, through ssh alone. */
#ifndef REMOTE_H
#define REMOTE_H

#include "host.h"

/* Runs argv (the whole command line; --remote is left out) on host->remote after checking that the versions agree; returns its exit code. Standard streams are
 * the remote command's; on a terminal it gets one. Ctrl-C reaches it as SIGINT. */
int remote_run(struct host *host, int argc, char **argv);

#endif
