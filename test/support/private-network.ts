/**
 * A network namespace for one replica, with two cables to this machine: by one its clients and its vendor reach it, by the other it reaches the
 * store, and only that one is cut. What is under way then is lost or comes late, as TCP has it; nobody is told. Needs CAP_NET_ADMIN: root,
 * or a network namespace around all tests (`unshare -rn sh -c 'ip link set lo up && npm run soak'`).
 */
import { connect, createServer } from 'node:net';
import { runOrThrow, startHolder } from './holder-process.ts';

export interface PrivateNetwork {
  /** What a command starts with to run in it. */
  prefix: readonly string[];
  /** Its own, on the clients' cable. */
  address: string;
  /** This machine's, on either cable. */
  clientsHost: string;
  storeHost: string;
  cutStore(isCut: boolean): void;
  close(): Promise<void>;
}

interface Cable {
  /** This machine's end, and its address. */
  name: string;
  host: string;
  /** The other end's. */
  peer: string;
}

/** Addresses are of the block for measuring devices (RFC 2544), so that they are nobody's. `index` up to 63. */
const cable = (kind: 'clients' | 'store', index: number, pid: number): Cable => {
  const network = `198.${kind === 'clients' ? 18 : 19}.0`;
  return {
    name: `${kind[0]}${index}-${pid}`,
    host: `${network}.${4 * index + 1}`,
    peer: `${network}.${4 * index + 2}`,
  };
};

export async function openPrivateNetwork(index: number): Promise<PrivateNetwork> {
  const holder = await startHolder('net', 'ip link set lo up');
  if (!holder) throw new Error('no network namespaces here: be root, or run all of it in `unshare -rn`');
  const inside = (...command: string[]): void => runOrThrow([...holder.prefix, ...command]);
  const cables = { clients: cable('clients', index, holder.pid), store: cable('store', index, holder.pid) };
  try {
    for (const [kind, { name, host, peer }] of Object.entries(cables)) {
      runOrThrow(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', kind, 'netns', String(holder.pid)]);
      runOrThrow(['ip', 'address', 'add', `${host}/30`, 'dev', name]);
      runOrThrow(['ip', 'link', 'set', name, 'up']);
      inside('ip', 'address', 'add', `${peer}/30`, 'dev', kind);
      inside('ip', 'link', 'set', kind, 'up');
    }
  } catch (error) {
    await holder.close();
    throw error;
  }
  return {
    prefix: holder.prefix,
    address: cables.clients.peer,
    clientsHost: cables.clients.host,
    storeHost: cables.store.host,
    // Both ends keep their addresses; the other one only sees that nothing comes.
    cutStore: (isCut) => runOrThrow(['ip', 'link', 'set', cables.store.name, isCut ? 'down' : 'up']),
    // The cables go with the namespace.
    close: () => holder.close(),
  };
}

export interface Relay {
  port: number;
  close(): Promise<void>;
}

/** Passes connections that come in at `host` on to a port of 127.0.0.1. */
export async function startRelay(host: string, toPort: number): Promise<Relay> {
  const server = createServer((incoming) => {
    const outgoing = connect(toPort, '127.0.0.1');
    incoming.on('error', () => outgoing.destroy()).on('close', () => outgoing.destroy());
    outgoing.on('error', () => incoming.destroy()).on('close', () => incoming.destroy());
    incoming.pipe(outgoing).pipe(incoming);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as { port: number }).port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
