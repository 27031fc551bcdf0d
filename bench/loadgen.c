/* loadgen.c - HTTP/1.1 keep-alive load generator for LLM traffic, one thread, epoll. Built and run by bench/forwarding.py.
 * In C because a generator in Python costs more than the proxies it is to measure. Loopback only.
 * usage: loadgen -p PORT -u PATH -b BODYFILE -c CONNS -n REQUESTS [-t MAX_SECONDS] [-w WARMUP_REQUESTS]
 *                [-r RATE_PER_S (open loop: latency counts from the scheduled instant)] [-H "Name: value"]... 
 * JSON and SSE replies alike (Content-Length, chunked or close framing). In SSE bodies it looks for "t=<16 hex>"
 * (see mock.c) and reports the one-way age of each event: mock send() -> parsed here.
 * Prints one JSON object; times in microseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IDLE, HEAD, BODY, CSIZE, CDATA, CCRLF, TRAILER, EOFBODY };
typedef struct conn { int fd, st, status, counted, open, first, reused; uint64_t t0; long need; char head[16384]; size_t hl, sent; char line[64]; int ll; char tok[24]; int tl; } conn;
static int ep, port, C = 1; static long N = 1000, W = 0, issued, done, ok, bad, errs, reconn; static double T = 60, R = 0;
static char *req; static size_t reqlen; static uint64_t tstart, tlast; static unsigned long long bytes, events;
static uint64_t *lat, *ttfb, *age; static long nlat, nttfb, nage, capage; static char firstbad[300];
static conn *cs; static int *idle, nidle;

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static int cmp(const void *a, const void *b) { uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b; return x < y ? -1 : x > y; }
static void dial(conn *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&a, sizeof a)) { perror("connect"); exit(2); }
    fcntl(c->fd, F_SETFL, O_NONBLOCK); setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e); c->open = 1; c->reused = 0;
}
static void push(conn *c) {
    while (c->sent < reqlen) {
        ssize_t k = send(c->fd, req + c->sent, reqlen - c->sent, MSG_NOSIGNAL);
        if (k < 0) { if (errno == EAGAIN) { struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); } return; }
        c->sent += k;
    }
}
static void start(conn *c, uint64_t t0) {
    if (!c->open) dial(c);
    c->counted = issued >= W; issued++;
    if (issued == W + 1) tstart = now();
    c->st = HEAD; c->hl = 0; c->sent = 0; c->first = 1; c->tl = 0; c->status = 0; c->t0 = t0 ? t0 : now(); push(c);
}
static uint64_t sched(void) { return tstart + (uint64_t)((issued - W) * 1e9 / R); }
static void finish(conn *c, int good, int closeit) {
    uint64_t t = now(); done++;
    if (c->counted) { tlast = t; if (good && c->status == 200) { ok++; lat[nlat++] = t - c->t0; } else if (good) bad++; else errs++; }
    if ((!good || c->status != 200) && !*firstbad) snprintf(firstbad, 200, "%.160s", c->head);
    c->st = IDLE; c->reused = 1;
    if (closeit) { close(c->fd); c->open = 0; reconn++; }
    idle[nidle++] = c - cs;
}
static void scan(conn *c, const char *p, size_t n) { /* find "t=" + 16 hex over chunk borders */
    if (c->first) { c->first = 0; if (c->counted) ttfb[nttfb++] = now() - c->t0; }
    bytes += n; uint64_t t = 0; const char *e = p + n;
    while (p < e) {
        if (!c->tl) { p = memchr(p, 't', e - p); if (!p) return; c->tok[c->tl++] = *p++; continue; }
        char ch = *p; int good = c->tl == 1 ? ch == '=' : (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f');
        if (!good) { c->tl = 0; continue; }
        c->tok[c->tl++] = ch; p++;
        if (c->tl == 18) { c->tok[18] = 0; if (!t) t = now(); c->tl = 0; if (c->counted) { events++; if (nage < capage) age[nage++] = t - strtoull(c->tok + 2, 0, 16); } }
    }
}
static void eat(conn *c, char *p, size_t n) {
    while (n) {
        switch (c->st) {
        case IDLE: return;
        case HEAD: {
            size_t k = n < sizeof c->head - 1 - c->hl ? n : sizeof c->head - 1 - c->hl, from = c->hl > 3 ? c->hl - 3 : 0;
            memcpy(c->head + c->hl, p, k); c->head[c->hl + k] = 0;
            char *e = memmem(c->head + from, c->hl + k - from, "\r\n\r\n", 4);
            if (!e) { c->hl += k; if (c->hl > sizeof c->head - 2) exit(3); return; }
            size_t used = e + 4 - c->head - c->hl; e[2] = 0; c->status = atoi(c->head + 9);
            if (c->status == 100) { c->hl = 0; p += used; n -= used; break; }
            char *q = strcasestr(c->head, "\r\ncontent-length:");
            p += used; n -= used; c->ll = 0;
            if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->st = CSIZE;
            else if (q) { c->need = atol(q + 17); c->st = BODY; if (!c->need) { finish(c, 1, 0); return; } }
            else c->st = EOFBODY;
            break; }
        case BODY: { size_t k = n < (size_t)c->need ? n : (size_t)c->need; if (c->status != 200 && !*firstbad) snprintf(firstbad, 300, "%d %.*s", c->status, (int)(k > 250 ? 250 : k), p);
            scan(c, p, k); c->need -= k; p += k; n -= k; if (!c->need) { finish(c, 1, strcasestr(c->head, "\r\nconnection: close") != 0); return; } break; }
        case EOFBODY: scan(c, p, n); return;
        case CSIZE: { char ch = *p++; n--; if (ch == '\n') { c->line[c->ll] = 0; c->need = strtol(c->line, 0, 16); c->ll = 0; c->st = c->need ? CDATA : TRAILER; } else if (c->ll < 60) c->line[c->ll++] = ch; break; }
        case CDATA: { size_t k = n < (size_t)c->need ? n : (size_t)c->need; if (c->status != 200 && !*firstbad) snprintf(firstbad, 300, "%d %.*s", c->status, (int)(k > 250 ? 250 : k), p);
            scan(c, p, k); c->need -= k; p += k; n -= k; if (!c->need) c->st = CCRLF; break; }
        case CCRLF: if (*p == '\n') c->st = CSIZE; p++; n--; break;
        case TRAILER: { char ch = *p++; n--; if (ch == '\n') { if (c->ll == 0) { finish(c, 1, strcasestr(c->head, "\r\nconnection: close") != 0); return; } c->ll = 0; } else if (ch != '\r') c->ll++; break; }
        }
    }
}
static void dist(const char *name, uint64_t *a, long n, int last) {
    qsort(a, n, sizeof *a, cmp); double s = 0; for (long i = 0; i < n; i++) s += a[i];
#define P(q) (n ? a[(long)((n - 1) * q)] / 1e3 : 0)
    printf("\"%s\":{\"n\":%ld,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}%s", name, n, n ? s / n / 1e3 : 0, P(.5), P(.9), P(.99), P(.999), P(1), last ? "" : ",");
}
int main(int argc, char **argv) {
    char *body = 0, *path = "/v1/chat/completions", hdr[4096] = ""; int o; size_t bl = 0;
    while ((o = getopt(argc, argv, "p:u:b:c:n:t:w:r:H:")) > 0) switch (o) {
        case 'p': port = atoi(optarg); break; case 'u': path = optarg; break; case 'c': C = atoi(optarg); break; case 'n': N = atol(optarg); break;
        case 't': T = atof(optarg); break; case 'w': W = atol(optarg); break; case 'r': R = atof(optarg); break;
        case 'H': strcat(hdr, optarg); strcat(hdr, "\r\n"); break;
        case 'b': { FILE *f = fopen(optarg, "rb"); if (!f) { perror(optarg); return 1; } fseek(f, 0, 2); bl = ftell(f); rewind(f); body = malloc(bl + 1); if (fread(body, 1, bl, f) != bl) return 1; fclose(f); break; }
        default: return 1; }
    req = malloc(bl + 8192);
    reqlen = sprintf(req, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.8.0\r\n"
        "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.8.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
        "X-Stainless-Runtime-Version: 3.11.7\r\nAuthorization: Bearer sk-mock\r\nX-Stainless-Async: false\r\n%sContent-Length: %zu\r\n\r\n", path, port, hdr, bl);
    memcpy(req + reqlen, body, bl); reqlen += bl;
    long M = N + W + C + 10; lat = malloc(8 * M); ttfb = malloc(8 * M); age = malloc(8 * (capage = 4000000));
    cs = calloc(C, sizeof *cs); idle = malloc(sizeof(int) * C); ep = epoll_create1(0);
    for (int i = 0; i < C; i++) { cs[i].st = IDLE; dial(&cs[i]); idle[nidle++] = i; }
    uint64_t begin = tstart = now(), stop = begin + (uint64_t)(T * 1e9); static char buf[1 << 18]; struct epoll_event ev[1024];
    while (done < N + W) {
        uint64_t t = now(); if (t > stop) break; struct timespec ts = {0, 100000000}; 
        while (nidle && issued < N + W) {
            uint64_t t0 = 0;
            if (R > 0 && issued >= W) { if (issued == W) tstart = t; t0 = sched(); if (t0 > t) { uint64_t d = t0 - t; if (d < 100000000) { ts.tv_nsec = d; } break; } }
            start(&cs[idle[--nidle]], t0);
        }
        int n = epoll_pwait2(ep, ev, 1024, &ts, 0);
        for (int i = 0; i < n; i++) {
            conn *c = ev[i].data.ptr;
            if (ev[i].events & EPOLLOUT) { struct epoll_event e = {.events = EPOLLIN, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); push(c); }
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                ssize_t k = recv(c->fd, buf, sizeof buf, 0);
                if (k > 0) eat(c, buf, k);
                else if (k == 0 || errno != EAGAIN) {
                    if (c->st == IDLE) { close(c->fd); c->open = 0; reconn++; }
                    else if (c->st == HEAD && c->hl == 0 && c->reused) { close(c->fd); reconn++; dial(c); c->sent = 0; push(c); } /* stale keep-alive: retry */
                    else finish(c, c->st == EOFBODY, 1);
                }
            }
        }
    }
    double d = ((tlast ? tlast : now()) - tstart) / 1e9; long cnt = ok + bad + errs;
    printf("{\"conns\":%d,\"requests\":%ld,\"ok\":%ld,\"non200\":%ld,\"errors\":%ld,\"unfinished\":%ld,\"reconnects\":%ld,\"seconds\":%.3f,\"rps\":%.1f,\"events\":%llu,\"body_bytes\":%llu,", C, cnt, ok, bad, errs, issued - done, reconn, d, cnt / d, events, bytes);
    dist("latency", lat, nlat, 0); dist("ttfb", ttfb, nttfb, 0); dist("event_age", age, nage, 1);
    if (*firstbad) { printf(",\"first_bad\":\""); for (char *p = firstbad; *p; p++) { if (*p == '"' || *p == '\\') putchar('\''); else if (*p >= 32) putchar(*p); } putchar('"'); }
    printf("}\n"); return 0;
}
