/*
 * tests: how many pairs of queues a network card uses, from inside a guest:
 *
 *     in-guest-channels INTERFACE [N]     sets it, if N is there; prints "N of MAX"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>

static int ask(int fd, struct ifreq *request, unsigned command, const char *name)
{
    ((struct ethtool_channels *)request->ifr_data)->cmd = command;
    if (ioctl(fd, SIOCETHTOOL, request) != 0) {
        perror(name);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct ethtool_channels channels = {0};
    struct ifreq request = {.ifr_data = (char *)&channels};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s INTERFACE [N]\n", argv[0]);
        return 2;
    }
    strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
    if (ask(fd, &request, ETHTOOL_GCHANNELS, "ETHTOOL_GCHANNELS") != 0) {
        return EXIT_FAILURE;
    }
    if (argc == 3) {
        channels.combined_count = (unsigned)strtoul(argv[2], NULL, 10);
        if (ask(fd, &request, ETHTOOL_SCHANNELS, "ETHTOOL_SCHANNELS") != 0 ||
            ask(fd, &request, ETHTOOL_GCHANNELS, "ETHTOOL_GCHANNELS") != 0) {
            return EXIT_FAILURE;
        }
    }
    printf("%u of %u\n", channels.combined_count, channels.max_combined);
    return EXIT_SUCCESS;
}
