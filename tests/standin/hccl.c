/* libhccl, the collectives: every rank lays its part into its slot, all meet, each reads what it needs, all meet. */
#define _GNU_SOURCE
#include "hccl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  char internal[4108];
} HcclRootInfo;

enum { INT8, INT16, INT32, FP16, FP32, INT64, UINT64, UINT8, UINT16, UINT32, FP64, BF16, TYPES };
enum { SUM, PROD, MAX, MIN };

/* Which types move and which can be summed, as the vendor lists them: bfloat16 and int16 only on later chips. */
static const struct {
  unsigned char width;
  bool sums, later;
} KINDS[TYPES] = {
    [INT8] = {1, true, false},   [INT16] = {2, true, true},    [INT32] = {4, true, false},
    [FP16] = {2, true, false},   [FP32] = {4, true, false},    [INT64] = {8, true, false},
    [UINT64] = {8, false, false}, [UINT8] = {1, false, false}, [UINT16] = {2, false, false},
    [UINT32] = {4, false, false}, [FP64] = {8, false, false},  [BF16] = {2, true, true},
};

size_t hccl_width(int type, bool sum) {
  if (type < 0 || type >= TYPES || (sum && !KINDS[type].sums)) return 0;
  return KINDS[type].later && !standin_has_bf16() && (sum || type == BF16) ? 0 : KINDS[type].width;
}

double hccl_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double hccl_patience(void) {
  const char *said = getenv("STANDIN_HCCL_TIMEOUT");
  return said != NULL ? atof(said) : 120;
}

void hccl_nap(long turn) {
  if (turn > 20) nanosleep(&(struct timespec){0, turn < 200 ? 2000 : 50000}, NULL);
}

/* Meeting */

static int meet(comm *c) {
  struct shared *all = c->shared;
  int round = atomic_load(&all->round);
  if (atomic_fetch_add(&all->arrived, 1) == c->ranks - 1) {
    atomic_store(&all->arrived, 0);
    atomic_fetch_add(&all->round, 1);
    return HCCL_OK;
  }
  double began = hccl_now();
  for (long turn = 0; atomic_load(&all->round) == round; turn++) {
    hccl_nap(turn);
    if ((turn & 255) == 0 && hccl_now() - began > hccl_patience()) return HCCL_E_TIMEOUT;
  }
  return HCCL_OK;
}

/* A rank that is planted to stay away waits in vain like the others, whom it leaves without it. */
static int begin(comm *c) {
  if (!standin_fails(FAULT_COLLECTIVE)) return HCCL_OK;
  for (double began = hccl_now(); hccl_now() - began <= hccl_patience();) hccl_nap(1000);
  return HCCL_E_TIMEOUT;
}

static int join(const char *name, int ranks, int rank, HcclComm *out) {
  if (ranks > MOST_RANKS || rank >= ranks) return HCCL_E_PARA;
  comm *c = calloc(1, sizeof *c);
  size_t head = (sizeof(struct shared) + 4095) & ~(size_t)4095, slots = (size_t)ranks * SLOT;
  *c = (comm){.ranks = ranks, .rank = rank, .bytes = head + slots + (size_t)ranks * (size_t)ranks * MAIL};
  snprintf(c->name, sizeof c->name, "%s", name);
  int file = shm_open(name, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, (off_t)c->bytes) != 0) return HCCL_E_SYSCALL;
  char *memory = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return HCCL_E_SYSCALL;
  c->shared = (struct shared *)memory;
  c->slots = memory + head;
  c->mails = c->slots + slots;
  int failed = meet(c);
  if (rank == 0) shm_unlink(name); /* also after a time-out: nothing stays behind */
  if (failed) return failed;
  *out = c;
  return HCCL_OK;
}

int HcclGetRootInfo(HcclRootInfo *info) {
  static atomic_int made;
  memset(info, 0, sizeof *info);
  snprintf(info->internal, NAME / 2, "/standin_%d_%.0f_%d", getpid(), hccl_now() * 1e6, atomic_fetch_add(&made, 1));
  return HCCL_OK;
}

int HcclCommInitRootInfo(uint32_t ranks, const HcclRootInfo *info, uint32_t rank, HcclComm *out) {
  return join(info->internal, (int)ranks, (int)rank, out);
}

int HcclCommInitRootInfoConfig(uint32_t ranks, const HcclRootInfo *info, uint32_t rank, const void *config,
                               HcclComm *out) {
  return join(info->internal, (int)ranks, (int)rank, out);
}

int HcclCreateSubCommConfig(HcclComm *parent, uint32_t ranks, uint32_t *ids, uint64_t id, uint32_t rank, void *config,
                            HcclComm *out) {
  char name[NAME];
  snprintf(name, sizeof name, "%.90s_%lu", (*parent)->name, (unsigned long)id);
  return join(name, (int)ranks, (int)rank, out);
}

int HcclCommInitClusterInfoConfig(const char *file, uint32_t rank, void *config, HcclComm *out) {
  return HCCL_E_NOT_SUPPORT;
}

int HcclCommDestroy(HcclComm c) {
  munmap(c->shared, c->bytes);
  free(c);
  return HCCL_OK;
}

int HcclGetCommName(HcclComm c, char *name) {
  snprintf(name, NAME, "%s", c->name);
  return HCCL_OK;
}

int HcclGetCommAsyncError(HcclComm c, int *error) {
  *error = HCCL_OK;
  return HCCL_OK;
}

int HcclGetRankSize(HcclComm c, uint32_t *ranks) {
  *ranks = (uint32_t)c->ranks;
  return HCCL_OK;
}

int HcclGetRankId(HcclComm c, uint32_t *rank) {
  *rank = (uint32_t)c->rank;
  return HCCL_OK;
}

int HcclSetConfig(int key, int value) { return HCCL_OK; }
uint32_t HcclGetCommConfigCapability(void) { return 3; }

const char *HcclGetErrorString(int error) {
  return error == HCCL_E_TIMEOUT ? "timeout" : error == HCCL_E_NOT_SUPPORT ? "not support" : "error";
}

/* Arithmetic: half precision is summed in float32 and rounded once */

static float from_bf16(uint16_t x) {
  union {
    uint32_t bits;
    float value;
  } wide = {(uint32_t)x << 16};
  return wide.value;
}

static uint16_t to_bf16(float x) {
  union {
    float value;
    uint32_t bits;
  } wide = {x};
  if ((wide.bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(wide.bits >> 16 | 64); /* NaN stays one */
  return (uint16_t)((wide.bits + 0x7fff + (wide.bits >> 16 & 1)) >> 16);
}

#define SAME(x) (x)
#define REDUCE(type, wide, load, store)                                                             \
  for (uint64_t i = 0; i < count; i++) {                                                            \
    wide a = load(((type *)c->slots)[i]);                                                           \
    for (int k = 1; k < c->ranks; k++) {                                                            \
      wide b = load(((type *)(c->slots + (size_t)k * SLOT))[i]);                                    \
      a = how == SUM ? (wide)(a + b) : how == PROD ? (wide)(a * b) : how == MAX ? (a > b ? a : b) : (a < b ? a : b); \
    }                                                                                               \
    ((type *)to)[i] = store(a);                                                                     \
  }                                                                                                 \
  break;

static void reduce(comm *c, void *to, uint64_t count, int type, int how) {
  switch (type) {
    case INT8: REDUCE(int8_t, int8_t, SAME, SAME)
    case INT16: REDUCE(int16_t, int16_t, SAME, SAME)
    case INT32: REDUCE(int32_t, int32_t, SAME, SAME)
    case INT64: REDUCE(int64_t, int64_t, SAME, SAME)
    case FP32: REDUCE(float, float, SAME, SAME)
    case FP16: REDUCE(_Float16, float, SAME, SAME)
    case BF16: REDUCE(uint16_t, float, from_bf16, to_bf16)
  }
}

/* One piece of `count` elements: lay it, meet, take it, meet. `lay` and `take` may be NULL for a rank without. */

#define TRY(what)                            \
  do {                                       \
    int failed = what;                       \
    if (failed != HCCL_OK) return failed;    \
  } while (0)
#define PIECES(total, width)                                                              \
  for (uint64_t at = 0, n; at < (total) && (n = (total) - at < SLOT / (width) ? (total) - at : SLOT / (width)); at += n)

static void lay(comm *c, const void *from, size_t bytes) { memcpy(c->slots + (size_t)c->rank * SLOT, from, bytes); }

/* Sums `count` elements of every rank; those that `wants` it get the result. */
static int sum_up(comm *c, const char *from, char *to, uint64_t count, int type, int how, bool wants) {
  size_t width = hccl_width(type, true);
  if (width == 0) return HCCL_E_NOT_SUPPORT;
  PIECES(count, width) {
    lay(c, from + at * width, n * width);
    TRY(meet(c));
    if (wants) reduce(c, to + at * width, n, type, how);
    TRY(meet(c));
  }
  return HCCL_OK;
}

/* Gives `count` elements of rank `root` to those that want them. */
static int hand_out(comm *c, const char *from, char *to, uint64_t count, int type, int root, bool wants) {
  size_t width = hccl_width(type, false);
  if (width == 0) return HCCL_E_NOT_SUPPORT;
  PIECES(count, width) {
    if (c->rank == root) lay(c, from + at * width, n * width);
    TRY(meet(c));
    if (wants) memcpy(to + at * width, c->slots + (size_t)root * SLOT, n * width);
    TRY(meet(c));
  }
  return HCCL_OK;
}

/* The interface */

int HcclAllReduce(void *from, void *to, uint64_t count, int type, int how, HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  return sum_up(c, from, to, count, type, how, true);
}

int HcclReduce(void *from, void *to, uint64_t count, int type, int how, uint32_t root, HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  return sum_up(c, from, to, count, type, how, c->rank == (int)root);
}

int HcclReduceScatterV(void *from, const uint64_t *counts, const uint64_t *places, void *to, uint64_t count, int type,
                       int how, HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  for (int k = 0; k < c->ranks; k++) {
    const char *part = (char *)from + places[k] * hccl_width(type, true);
    TRY(sum_up(c, part, to, counts[k], type, how, c->rank == k));
  }
  return HCCL_OK;
}

int HcclReduceScatter(void *from, void *to, uint64_t count, int type, int how, HcclComm c, aclrtStream stream) {
  uint64_t counts[MOST_RANKS], places[MOST_RANKS];
  for (int k = 0; k < c->ranks; k++) counts[k] = count, places[k] = (uint64_t)k * count;
  return HcclReduceScatterV(from, counts, places, to, count, type, how, c, stream);
}

int HcclBroadcast(void *data, uint64_t count, int type, uint32_t root, HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  return hand_out(c, data, data, count, type, (int)root, c->rank != (int)root);
}

int HcclScatter(void *from, void *to, uint64_t count, int type, uint32_t root, HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  for (int k = 0; k < c->ranks; k++) {
    const char *part = (char *)from + (uint64_t)k * count * hccl_width(type, false);
    TRY(hand_out(c, part, to, count, type, (int)root, c->rank == k));
  }
  return HCCL_OK;
}

int HcclAllGatherV(void *from, uint64_t count, void *to, const uint64_t *counts, const uint64_t *places, int type,
                   HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  for (int k = 0; k < c->ranks; k++)
    TRY(hand_out(c, from, (char *)to + places[k] * hccl_width(type, false), counts[k], type, k, true));
  return HCCL_OK;
}

int HcclAllGather(void *from, void *to, uint64_t count, int type, HcclComm c, aclrtStream stream) {
  uint64_t counts[MOST_RANKS], places[MOST_RANKS];
  for (int k = 0; k < c->ranks; k++) counts[k] = count, places[k] = (uint64_t)k * count;
  return HcclAllGatherV(from, count, to, counts, places, type, c, stream);
}

int HcclBarrier(HcclComm c, aclrtStream stream) {
  TRY(begin(c));
  return meet(c);
}
