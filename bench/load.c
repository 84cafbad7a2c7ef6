/* What runs inside and outside of measured containers: small, static, and the same for both sides.
 *
 *   load lines N            prints N lines of 100 bytes
 *   load serve PORT         answers each connection by its first byte: 'p' is sent back, 's' starts a stream
 *   load connect IP PORT MS connections per second: connect, one byte there and back, close
 *   load stream IP PORT MS  megabytes per second through one connection
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 8, PIECE = 1 << 18 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int lines(long count) {
    static char piece[100 * 1000];
    for (int i = 0; i < 1000; i++) {
        memset(piece + i * 100, 'a' + i % 26, 99);
        piece[i * 100 + 99] = '\n';
    }
    for (long left = count; left > 0;) {
        long now_lines = left < 1000 ? left : 1000;
        for (long done = 0, all = now_lines * 100; done < all;) {
            ssize_t n = write(1, piece + done, all - done);
            if (n < 0) return 1;
            done += n;
        }
        left -= now_lines;
    }
    return 0;
}

static void serve_one(int s) {
    static char piece[PIECE];
    char what;
    if (read(s, &what, 1) == 1) {
        if (what == 'p') (void)!write(s, &what, 1);
        while (what == 's' && write(s, piece, sizeof piece) > 0) {}
    }
    close(s);
}

static int serve(int port) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&here, sizeof here) || listen(s, 1024)) return 1;
    for (int i = 1; i < WORKERS; i++)
        if (fork() == 0) break;
    for (;;) {
        int client = accept(s, NULL, NULL);
        if (client >= 0) serve_one(client);
    }
}

static int dial(const char *ip, int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &there.sin_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&there, sizeof there)) {
        close(s);
        return -1;
    }
    /* Closing resets, so that no port waits: the measure shall not end where ports do. */
    struct linger hard = {1, 0};
    setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    return s;
}

static int connections(const char *ip, int port, int ms) {
    long *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double begin = now(), end = begin + ms / 1e3;
    for (int i = 0; i < WORKERS; i++) {
        if (fork()) continue;
        long count = 0;
        while (now() < end) {
            int s = dial(ip, port);
            char byte = 'p';
            if (s < 0) continue;
            if (write(s, &byte, 1) == 1 && read(s, &byte, 1) == 1) count++;
            close(s);
        }
        __atomic_add_fetch(done, count, __ATOMIC_RELAXED);
        _exit(0);
    }
    while (wait(NULL) > 0) {}
    printf("%.1f\n", *done / (now() - begin));
    return *done == 0;
}

static int stream(const char *ip, int port, int ms) {
    static char piece[PIECE];
    int s = dial(ip, port);
    if (s < 0 || write(s, "s", 1) != 1) return 1;
    double begin = now(), end = begin + ms / 1e3, bytes = 0;
    while (now() < end) {
        ssize_t n = read(s, piece, sizeof piece);
        if (n <= 0) return 1;
        bytes += n;
    }
    printf("%.1f\n", bytes / 1e6 / (now() - begin));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "lines")) return lines(atol(argv[2]));
    if (argc == 3 && !strcmp(argv[1], "serve")) return serve(atoi(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "connect")) return connections(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (argc == 5 && !strcmp(argv[1], "stream")) return stream(argv[2], atoi(argv[3]), atoi(argv[4]));
    fprintf(stderr, "usage: load lines|serve|connect|stream …\n");
    return 2;
}
