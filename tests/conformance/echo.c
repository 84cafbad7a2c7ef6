/* Sends every datagram to port 7 back to where it came from: busybox has no such server. */
#include <arpa/inet.h>
#include <sys/socket.h>

int main(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(7)}, there;
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof here)) return 1;
    for (;;) {
        char bytes[2048];
        socklen_t length = sizeof there;
        ssize_t n = recvfrom(s, bytes, sizeof bytes, 0, (struct sockaddr *)&there, &length);
        if (n >= 0) sendto(s, bytes, n, 0, (struct sockaddr *)&there, length);
    }
}
