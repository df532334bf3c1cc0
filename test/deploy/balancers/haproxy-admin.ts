/** HAProxy's runtime socket: servers of the backend `replicas`, as deploy/haproxy/haproxy.cfg names them. */
import { tellHaproxy } from '../../support/servers/haproxy-server.ts';

export interface ServerState {
  /** `UP`, `DOWN`, `DRAIN`, also `UP 1/2` and the like on the way. */
  status: string;
  /** Requests that it has now. */
  running: number;
}

export async function stateOf(socket: string, server: string): Promise<ServerState> {
  const [head, ...lines] = (await tellHaproxy(socket, 'show stat')).trim().split('\n');
  const names = head!.replace(/^# /, '').split(',');
  for (const line of lines) {
    const fields = line.split(',');
    const field = (name: string): string => fields[names.indexOf(name)] ?? '';
    if (field('pxname') !== 'replicas' || field('svname') !== server) continue;
    return { status: field('status'), running: Number(field('scur')) };
  }
  throw new Error(`no server ${server}`);
}

export async function setState(socket: string, server: string, state: 'drain' | 'ready'): Promise<void> {
  const answer = await tellHaproxy(socket, `set server replicas/${server} state ${state}`);
  if (answer.trim() !== '') throw new Error(answer);
}
