/* mock.c - mock OpenAI-compatible upstream, one thread, epoll. Built and run by bench/forwarding.py.
 * In C so that the upstream is never what is measured. Loopback only.
 * usage: mock PORT [chunks=100] [delay_us=0] [resp_bytes=1024]
 * POST /v1/chat/completions  -> JSON (~resp_bytes), or SSE when the body holds "stream":true
 * POST /v1/embeddings        -> JSON with a 256-float embedding (~2.6 KB)
 * GET  anything              -> 200 {"object":"list",...}
 * A body token mock-c<chunks>-d<delay_us> (in its first/last 768 bytes) overrides the SSE shape.
 * Every SSE content is "t=<16 hex monotonic ns at send>" so a client can time each event one way. */
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

typedef struct conn {
    int fd, hidx;              /* hidx: index in the timer heap, -1 if absent */
    char *in; size_t inlen, incap;
    char *out; size_t outlen, outoff, outcap;
    int left, total; uint64_t delay, due; int streaming, wantout;
} conn;

static int ep; static int def_chunks = 100; static uint64_t def_delay = 0; static int resp_bytes = 1024;
static char *json_resp, *emb_resp, *list_resp; static size_t json_len, emb_len, list_len;
static unsigned long long served = 0;
static conn **heap; static int hn, hcap;

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void hset(int i, conn *c) { heap[i] = c; c->hidx = i; }
static void hup(int i) { conn *c = heap[i]; while (i && heap[(i - 1) / 2]->due > c->due) { hset(i, heap[(i - 1) / 2]); i = (i - 1) / 2; } hset(i, c); }
static void hdown(int i) { conn *c = heap[i]; for (;;) { int k = 2 * i + 1; if (k >= hn) break; if (k + 1 < hn && heap[k + 1]->due < heap[k]->due) k++; if (heap[k]->due >= c->due) break; hset(i, heap[k]); i = k; } hset(i, c); }
static void hpush(conn *c) { if (hn == hcap) heap = realloc(heap, sizeof *heap * (hcap = hcap ? hcap * 2 : 1024)); heap[hn] = c; c->hidx = hn; hup(hn++); }
static void hdel(conn *c) { int i = c->hidx; if (i < 0) return; c->hidx = -1; hn--; if (i == hn) return; hset(i, heap[hn]); hup(i); hdown(heap[i]->hidx); }

static void drop(conn *c) { hdel(c); close(c->fd); free(c->in); free(c->out); free(c); }
static void arm(conn *c, int w) { if (c->wantout == w) return; c->wantout = w; struct epoll_event e = {.events = EPOLLIN | (w ? EPOLLOUT : 0), .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); }
/* returns -1 when the connection must be dropped */
static int put(conn *c, const char *p, size_t n) {
    if (c->outlen == c->outoff) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0) { if (errno != EAGAIN) return -1; k = 0; }
        p += k; n -= k; if (!n) return 0;
        c->outlen = c->outoff = 0;
    }
    if (c->outlen + n > c->outcap) c->out = realloc(c->out, c->outcap = (c->outlen + n) * 2);
    memcpy(c->out + c->outlen, p, n); c->outlen += n; arm(c, 1); return 0;
}
static const char SSE_HEAD[] =
    "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    "Connection: keep-alive\r\nAccess-Control-Allow-Origin: *\r\nCache-Control: no-cache\r\nX-Generation-Id: gen-1763798400-abcdefghijklmnopqrst\r\n"
    "Server: cloudflare\r\nCF-RAY: 9a0f00000000abcd-FRA\r\n\r\n";
static int event(conn *c) { /* one SSE event, one HTTP chunk, one send() */
    char d[512], f[640];
    int n = snprintf(d, sizeof d,
        "data: {\"id\":\"chatcmpl-mock0000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1763798400,\"model\":\"mock-model\","
        "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"t=%016llx \"},\"finish_reason\":null}]}\n\n", (unsigned long long)now());
    int m = snprintf(f, sizeof f, "%x\r\n%.*s\r\n", n, n, d);
    return put(c, f, m);
}
static int tail(conn *c) {
    char d[1024], f[1200];
    int n = snprintf(d, sizeof d,
        "data: {\"id\":\"chatcmpl-mock0000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1763798400,\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"id\":\"chatcmpl-mock0000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1763798400,\"model\":\"mock-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":512,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n"
        "data: [DONE]\n\n", c->total, 512 + c->total);
    int m = snprintf(f, sizeof f, "%x\r\n%.*s\r\n0\r\n\r\n", n, n, d);
    c->streaming = 0; served++;
    return put(c, f, m);
}
static int pump(conn *c) { /* send what is due */
    if (!c->delay) { while (c->left-- > 0) if (event(c)) return -1; return tail(c); }
    uint64_t t = now();
    while (c->left > 0 && c->due <= t) { if (event(c)) return -1; c->left--; c->due += c->delay; }
    if (c->left <= 0) return tail(c);
    hpush(c); return 0;
}
static void *near(const char *b, size_t n, const char *pat) { /* first/last 768 bytes only: cost independent of the body */
    size_t L = strlen(pat), w = n < 768 ? n : 768; void *r = memmem(b, w, pat, L);
    if (!r && n > w) r = memmem(b + n - w, w, pat, L);
    return r;
}
static int handle(conn *c, const char *h, const char *b, size_t bl) {
    if (!strncmp(h, "GET ", 4)) { served++; return put(c, list_resp, list_len); }
    const char *sp = strchr(h, ' ');
    if (sp && memmem(sp, 64, "/embeddings", 11)) { served++; return put(c, emb_resp, emb_len); }
    if (near(b, bl, "\"stream\":true") || near(b, bl, "\"stream\": true")) {
        int ch = def_chunks; uint64_t du = def_delay; char *k = near(b, bl, "mock-c"); unsigned long long x;
        if (k) { int q; if (sscanf(k, "mock-c%d-d%llu", &q, &x) == 2) { ch = q; du = x; } }
        c->streaming = 1; c->left = c->total = ch; c->delay = du * 1000; c->due = now();
        if (put(c, SSE_HEAD, sizeof SSE_HEAD - 1)) return -1;
        return pump(c);
    }
    served++; return put(c, json_resp, json_len);
}
static int feed(conn *c) { /* consume complete requests */
    size_t off = 0;
    while (!c->streaming && c->inlen > off) {
        char *s = c->in + off, *e = memmem(s, c->inlen - off, "\r\n\r\n", 4);
        if (!e) break;
        size_t hl = e + 4 - s, bl = 0; e[2] = 0;
        char *p = strcasestr(s, "\r\ncontent-length:"); int chunked = 0;
        if (p) bl = strtoul(p + 17, 0, 10);
        else if (strcasestr(s, "\r\ntransfer-encoding: chunked")) chunked = 1;
        if (strcasestr(s, "\r\nexpect: 100-continue") && c->inlen - off == hl) put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        e[2] = '\r';
        if (chunked) { char *z = memmem(s + hl, c->inlen - off - hl, "0\r\n\r\n", 5); if (!z) break; bl = z + 5 - (s + hl); }
        if (c->inlen - off < hl + bl) break;
        if (handle(c, s, s + hl, bl)) return -1;
        off += hl + bl;
    }
    if (off) { memmove(c->in, c->in + off, c->inlen - off); c->inlen -= off; }
    return 0;
}
static char *build(const char *body, size_t *len) {
    char *r = malloc(strlen(body) + 512);
    *len = sprintf(r, "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: keep-alive\r\n"
        "Access-Control-Allow-Origin: *\r\nX-Generation-Id: gen-1763798400-abcdefghijklmnopqrst\r\nServer: cloudflare\r\nCF-RAY: 9a0f00000000abcd-FRA\r\n\r\n%s", strlen(body), body);
    return r;
}
int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    int port = argc > 1 ? atoi(argv[1]) : 9000;
    if (argc > 2) def_chunks = atoi(argv[2]);
    if (argc > 3) def_delay = atoll(argv[3]);
    if (argc > 4) resp_bytes = atoi(argv[4]);
    char *pad = calloc(1, resp_bytes + 1), *b = malloc(resp_bytes + 1024); int used = 420;
    for (int i = 0; i < resp_bytes - used; i++) pad[i] = "lorem ipsum dolor sit amet, "[i % 28];
    sprintf(b, "{\"id\":\"chatcmpl-mock0000000000000001\",\"object\":\"chat.completion\",\"created\":1763798400,\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":512,\"completion_tokens\":128,\"total_tokens\":640,\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"system_fingerprint\":\"fp_mock\",\"provider\":\"Mock\"}", pad);
    json_resp = build(b, &json_len);
    char *em = malloc(8192), *q = em; q += sprintf(q, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[");
    for (int i = 0; i < 256; i++) q += sprintf(q, "%s%.6f", i ? "," : "", (i - 128) / 1000.0);
    sprintf(q, "]}],\"model\":\"mock-embed\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
    emb_resp = build(em, &emb_len);
    list_resp = build("{\"object\":\"list\",\"data\":[{\"id\":\"mock-model\",\"object\":\"model\",\"created\":1763798400,\"owned_by\":\"mock\"}]}", &list_len);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    ep = epoll_create1(0); struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0}; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    struct epoll_event ev[512]; static char buf[1 << 18];
    fprintf(stderr, "mock on 127.0.0.1:%d chunks=%d delay_us=%llu json=%zu B\n", port, def_chunks, (unsigned long long)def_delay, strlen(b));
    for (;;) {
        struct timespec ts, *tp = 0;
        if (hn) { uint64_t t = now(), d = heap[0]->due > t ? heap[0]->due - t : 0; ts.tv_sec = d / 1000000000; ts.tv_nsec = d % 1000000000; tp = &ts; }
        int n = epoll_pwait2(ep, ev, 512, tp, 0);
        for (int i = 0; i < n; i++) {
            conn *c = ev[i].data.ptr;
            if (!c) { int f; while ((f = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) { setsockopt(f, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); c = calloc(1, sizeof *c); c->fd = f; c->hidx = -1; struct epoll_event x = {.events = EPOLLIN, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_ADD, f, &x); } continue; }
            if (ev[i].events & EPOLLOUT) {
                ssize_t k = send(c->fd, c->out + c->outoff, c->outlen - c->outoff, MSG_NOSIGNAL);
                if (k < 0 && errno != EAGAIN) { drop(c); continue; }
                if (k > 0) c->outoff += k;
                if (c->outoff == c->outlen) { c->outoff = c->outlen = 0; arm(c, 0); }
            }
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                ssize_t k = recv(c->fd, buf, sizeof buf, 0);
                if (k == 0 || (k < 0 && errno != EAGAIN)) { drop(c); continue; }
                if (k > 0) {
                    if (c->inlen + k + 1 > c->incap) c->in = realloc(c->in, c->incap = (c->inlen + k + 1) * 2);
                    memcpy(c->in + c->inlen, buf, k); c->inlen += k; c->in[c->inlen] = 0;
                    if (feed(c)) { drop(c); continue; }
                }
            }
        }
        uint64_t t = now();
        while (hn && heap[0]->due <= t) { conn *c = heap[0]; hdel(c); if (pump(c) || (!c->streaming && feed(c))) drop(c); }
    }
}
