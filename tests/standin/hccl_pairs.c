/* libhccl, from one rank to another: a mailbox for each ordered pair, filled and emptied piece by piece. */
#include "hccl.h"

#include <string.h>

enum { MOST_ITEMS = 256 };
enum { SEND = 0, RECEIVE = 1 };

typedef struct {
  int way;
  void *data;
  uint64_t count;
  int type;
  uint32_t peer;
} HcclSendRecvItem;

/* Moves one piece if the mailbox allows; returns the bytes moved, or -1 for a message that is too long. */
static int64_t move(comm *c, const HcclSendRecvItem *item, uint64_t done, uint64_t total) {
  int from = item->way == SEND ? c->rank : (int)item->peer, to = item->way == SEND ? (int)item->peer : c->rank;
  struct mailbox *box = &c->shared->boxes[from * MOST_RANKS + to];
  char *mail = c->mails + ((size_t)from * (size_t)c->ranks + (size_t)to) * MAIL, *data = (char *)item->data + done;
  bool full = atomic_load(&box->written) != atomic_load(&box->read);
  if (item->way == SEND) {
    if (full) return 0;
    box->length = total - done < MAIL ? total - done : MAIL;
    memcpy(mail, data, box->length);
    uint64_t moved = box->length;
    atomic_fetch_add(&box->written, 1);
    return (int64_t)moved;
  }
  if (!full) return 0;
  uint64_t moved = box->length;
  if (done + moved > total) return -1;
  memcpy(data, mail, moved);
  atomic_fetch_add(&box->read, 1);
  return (int64_t)moved;
}

/* Whether an earlier item of the same pair and way is under way: messages keep their order. */
static bool waits(const HcclSendRecvItem *items, const uint64_t *done, uint32_t k) {
  for (uint32_t j = 0; j < k; j++)
    if (items[j].way == items[k].way && items[j].peer == items[k].peer &&
        done[j] < items[j].count * hccl_width(items[j].type, false))
      return true;
  return false;
}

int HcclBatchSendRecv(HcclSendRecvItem *items, uint32_t count, HcclComm c, aclrtStream stream) {
  uint64_t done[MOST_ITEMS] = {0};
  if (count > MOST_ITEMS) return HCCL_E_PARA;
  double began = hccl_now();
  for (long turn = 0;; turn++) {
    bool all = true;
    for (uint32_t k = 0; k < count; k++) {
      uint64_t total = items[k].count * hccl_width(items[k].type, false);
      if (total == 0 && items[k].count != 0) return HCCL_E_NOT_SUPPORT;
      if (done[k] == total) continue;
      all = false;
      if (waits(items, done, k)) continue;
      int64_t moved = move(c, &items[k], done[k], total);
      if (moved < 0) return HCCL_E_PARA;
      done[k] += (uint64_t)moved;
    }
    if (all) return HCCL_OK;
    hccl_nap(turn);
    if ((turn & 255) == 0 && hccl_now() - began > hccl_patience()) return HCCL_E_TIMEOUT;
  }
}

int HcclSend(void *data, uint64_t count, int type, uint32_t peer, HcclComm c, aclrtStream stream) {
  return HcclBatchSendRecv(&(HcclSendRecvItem){SEND, data, count, type, peer}, 1, c, stream);
}

int HcclRecv(void *data, uint64_t count, int type, uint32_t peer, HcclComm c, aclrtStream stream) {
  return HcclBatchSendRecv(&(HcclSendRecvItem){RECEIVE, data, count, type, peer}, 1, c, stream);
}

int HcclAlltoAllV(const void *from, const uint64_t *sends, const uint64_t *send_places, int send_type, void *to,
                  const uint64_t *receives, const uint64_t *receive_places, int receive_type, HcclComm c,
                  aclrtStream stream) {
  HcclSendRecvItem items[2 * MOST_RANKS];
  size_t width = hccl_width(send_type, false);
  uint32_t count = 0;
  if (width == 0) return HCCL_E_NOT_SUPPORT;
  for (int peer = 0; peer < c->ranks; peer++) {
    char *out = (char *)from + send_places[peer] * width, *in = (char *)to + receive_places[peer] * width;
    if (peer == c->rank) {
      memcpy(in, out, sends[peer] * width);
      continue;
    }
    if (sends[peer]) items[count++] = (HcclSendRecvItem){SEND, out, sends[peer], send_type, (uint32_t)peer};
    if (receives[peer]) items[count++] = (HcclSendRecvItem){RECEIVE, in, receives[peer], receive_type, (uint32_t)peer};
  }
  return HcclBatchSendRecv(items, count, c, stream);
}

int HcclAlltoAll(const void *from, uint64_t sends, int send_type, void *to, uint64_t receives, int receive_type,
                 HcclComm c, aclrtStream stream) {
  uint64_t n[2][MOST_RANKS], at[2][MOST_RANKS];
  for (uint64_t k = 0; k < (uint64_t)c->ranks; k++) {
    n[0][k] = sends, at[0][k] = k * sends;
    n[1][k] = receives, at[1][k] = k * receives;
  }
  return HcclAlltoAllV(from, n[0], at[0], send_type, to, n[1], at[1], receive_type, c, stream);
}

/* The same from a matrix: element [a, b] is what rank a sends to rank b. */
int HcclAlltoAllVC(const void *from, const uint64_t *matrix, int send_type, void *to, int receive_type, HcclComm c,
                   aclrtStream stream) {
  uint64_t n[2][MOST_RANKS], at[2][MOST_RANKS], place[2] = {0, 0};
  for (int k = 0; k < c->ranks; k++) {
    n[0][k] = matrix[c->rank * c->ranks + k], n[1][k] = matrix[k * c->ranks + c->rank];
    for (int way = 0; way < 2; way++) at[way][k] = place[way], place[way] += n[way][k];
  }
  return HcclAlltoAllV(from, n[0], at[0], send_type, to, n[1], at[1], receive_type, c, stream);
}
