/* The communicator which hccl.c makes and hccl_pairs.c uses: one piece of memory that its ranks share. */
#ifndef STANDIN_HCCL_H
#define STANDIN_HCCL_H

#include "standin.h"

#include <stdatomic.h>

enum { HCCL_OK = 0, HCCL_E_PARA = 1, HCCL_E_NOT_SUPPORT = 5, HCCL_E_SYSCALL = 8, HCCL_E_TIMEOUT = 9 };
enum { MOST_RANKS = 16, NAME = 128, SLOT = 4 << 20, MAIL = 1 << 20 };

/* A mailbox of an ordered pair of ranks: full while more was written than read. */
struct mailbox {
  _Atomic uint64_t written, read;
  uint64_t length;
};

struct shared {
  _Atomic int arrived, round;
  struct mailbox boxes[MOST_RANKS * MOST_RANKS];
};

typedef struct {
  int ranks, rank;
  size_t bytes;
  struct shared *shared;
  char *slots; /* one a rank, SLOT bytes */
  char *mails; /* one a pair, MAIL bytes */
  char name[NAME];
} comm, *HcclComm;

/* Bytes of a number by HCCL's type; 0 where this chip's HCCL refuses it, to sum or only to move it. */
size_t hccl_width(int type, bool sum);
double hccl_now(void);
/* Seconds after which a rank gives up waiting for another: STANDIN_HCCL_TIMEOUT. */
double hccl_patience(void);
/* Waits a little, longer each time. */
void hccl_nap(long turn);

#endif
