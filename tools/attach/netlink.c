/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <config.h>

#include <errno.h>
#include <netlink/netlink.h>
#include <netlink/genl/genl.h>
#include <netlink/genl/ctrl.h>
#include <linux/nbd.h>
#include <linux/nbd-netlink.h>

#include "tools/attach/netlink.h"

struct nbd_netlink {
  struct nl_sock *sock;
  int family;
};

static void
nbd_netlink_close (struct nbd_netlink *nl)
{
  nl_socket_free (nl->sock);    /* NULL is fine */
  nl->sock = NULL;
}

#define CLEANUP_NETLINK __attribute__ ((__cleanup__ (nbd_netlink_close)))

static int
nbd_netlink_open (struct nbd_netlink *nl, struct err *err)
{
  int r;

  nl->sock = nl_socket_alloc ();
  if (nl->sock == NULL)
    return err_nomem (err);
  r = genl_connect (nl->sock);
  if (r < 0)
    return err_set (err, -EIO, "connecting to generic netlink: %s",
                    nl_geterror (r));
  /* For root this also loads the module, by its alias. */
  nl->family = genl_ctrl_resolve (nl->sock, NBD_GENL_FAMILY_NAME);
  if (nl->family < 0)
    return err_set (err, -ENODEV, "the kernel has no NBD client: %s",
                    nl_geterror (nl->family));
  return 0;
}

int
netlink_available (struct err *err)
{
  CLEANUP_NETLINK struct nbd_netlink nl = { NULL, -1 };

  return nbd_netlink_open (&nl, err);
}

static struct nl_msg *
new_command (const struct nbd_netlink *nl, uint8_t command)
{
  struct nl_msg *msg = nlmsg_alloc ();

  if (msg != NULL &&
      genlmsg_put (msg, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0, 0,
                   command, 0) == NULL) {
    nlmsg_free (msg);
    msg = NULL;
  }
  return msg;
}

/* libnl has numbers of its own for what the kernel answers. */
static int
netlink_failed (int r, const char *what, struct err *err)
{
  switch (-r) {
  case NLE_BUSY:
    return err_set (err, -EBUSY, "the device is in use");
  case NLE_PERM:
    return err_set (err, -EPERM, "%s: only root may", what);
  case NLE_INVAL:
    return err_set (err, -EINVAL,
                    "the kernel refused to %s (dmesg has its reason)", what);
  default:
    return err_set (err, -EIO, "the kernel did not %s: %s", what,
                    nl_geterror (r));
  }
}

static uint64_t
server_flags (const struct netlink_device *device)
{
  uint64_t flags = NBD_FLAG_HAS_FLAGS;

  if (device->read_only)
    flags |= NBD_FLAG_READ_ONLY;
  if (device->can_flush)
    flags |= NBD_FLAG_SEND_FLUSH;
  if (device->can_fua)
    flags |= NBD_FLAG_SEND_FUA;
  if (device->can_trim && !device->read_only)
    flags |= NBD_FLAG_SEND_TRIM;
  if (device->multi_conn)
    flags |= NBD_FLAG_CAN_MULTI_CONN;
  return flags;
}

static int
put_sockets (struct nl_msg *msg, const struct netlink_device *device)
{
  struct nlattr *list = nla_nest_start (msg, NBD_ATTR_SOCKETS);
  size_t i;

  if (list == NULL)
    return -NLE_NOMEM;
  for (i = 0; i < device->nr_fds; ++i) {
    struct nlattr *item = nla_nest_start (msg, NBD_SOCK_ITEM);
    int r;

    if (item == NULL)
      return -NLE_NOMEM;
    r = nla_put_u32 (msg, NBD_SOCK_FD, (uint32_t) device->fds[i]);
    if (r < 0)
      return r;
    nla_nest_end (msg, item);
  }
  nla_nest_end (msg, list);
  return 0;
}

/* Client flags are left alone: a device that disconnects when its last user
 * closes it would vanish while it is being looked at.  No dead-connection
 * timeout either: it is the time the kernel waits for a reconnect, which
 * nobody would make.
 */
static int
put_device (struct nl_msg *msg, const struct netlink_device *device)
{
  int r = 0;

  if (device->index >= 0)
    r = nla_put_u32 (msg, NBD_ATTR_INDEX, (uint32_t) device->index);
  if (r >= 0)
    r = nla_put_u64 (msg, NBD_ATTR_SIZE_BYTES, device->size);
  if (r >= 0)
    r = nla_put_u64 (msg, NBD_ATTR_BLOCK_SIZE_BYTES, device->block_size);
  if (r >= 0)
    r = nla_put_u64 (msg, NBD_ATTR_SERVER_FLAGS, server_flags (device));
  if (r >= 0)
    r = nla_put_u64 (msg, NBD_ATTR_TIMEOUT, device->timeout);
  if (r >= 0 && device->backend != NULL)
    r = nla_put_string (msg, NBD_ATTR_BACKEND_IDENTIFIER, device->backend);
  if (r >= 0)
    r = put_sockets (msg, device);
  return r;
}

static int
read_index (struct nl_msg *msg, void *opaque)
{
  struct genlmsghdr *header = nlmsg_data (nlmsg_hdr (msg));
  struct nlattr *attrs[NBD_ATTR_MAX + 1];
  int64_t *index = opaque;

  if (header->cmd == NBD_CMD_CONNECT &&
      nla_parse (attrs, NBD_ATTR_MAX, genlmsg_attrdata (header, 0),
                 genlmsg_attrlen (header, 0), NULL) == 0 &&
      attrs[NBD_ATTR_INDEX] != NULL)
    *index = nla_get_u32 (attrs[NBD_ATTR_INDEX]);
  return NL_OK;
}

int
netlink_connect (const struct netlink_device *device, unsigned *index,
                 struct err *err)
{
  CLEANUP_NETLINK struct nbd_netlink nl = { NULL, -1 };
  int64_t answered = -1;
  struct nl_msg *msg;
  int r;

  r = nbd_netlink_open (&nl, err);
  if (r < 0)
    return r;
  nl_socket_modify_cb (nl.sock, NL_CB_VALID, NL_CB_CUSTOM, read_index,
                       &answered);
  msg = new_command (&nl, NBD_CMD_CONNECT);
  if (msg == NULL)
    return err_nomem (err);
  r = put_device (msg, device);
  if (r < 0) {
    nlmsg_free (msg);
    return netlink_failed (r, "set the device up", err);
  }
  r = nl_send_sync (nl.sock, msg);      /* frees msg */
  if (r < 0)
    return netlink_failed (r, "set the device up", err);
  if (answered < 0)
    return err_set (err, -EIO, "the kernel did not say which device it set up");
  *index = (unsigned) answered;
  return 0;
}

int
netlink_disconnect (unsigned index, struct err *err)
{
  CLEANUP_NETLINK struct nbd_netlink nl = { NULL, -1 };
  struct nl_msg *msg;
  int r;

  r = nbd_netlink_open (&nl, err);
  if (r < 0)
    return r;
  msg = new_command (&nl, NBD_CMD_DISCONNECT);
  if (msg == NULL)
    return err_nomem (err);
  r = nla_put_u32 (msg, NBD_ATTR_INDEX, index);
  if (r < 0) {
    nlmsg_free (msg);
    return netlink_failed (r, "disconnect the device", err);
  }
  r = nl_send_sync (nl.sock, msg);      /* frees msg */
  if (r < 0)
    return netlink_failed (r, "disconnect the device", err);
  return 0;
}
