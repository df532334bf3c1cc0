/**
 * One keep-alive connection that sends a request, reads its answer to the end, and only then sends the next. Bare sockets: the generator
 * shares the machine with what it measures, so it must cost little. Knows answers with Content-Length or without a body, no others.
 */
import { connect, type Socket } from 'node:net';

export interface Answer {
  status: number;
}

interface Waiting {
  resolve: (answer: Answer) => void;
  reject: (error: Error) => void;
}

const HEAD_END = Buffer.from('\r\n\r\n');

export class Connection {
  readonly #host: string;
  readonly #port: number;
  #socket: Socket | undefined;
  #received: Buffer = Buffer.alloc(0);
  #waiting: Waiting | undefined;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.#host = hostname;
    this.#port = Number(port);
  }

  /** `head`: request line and headers, without Content-Length and the empty line. Rejects when the connection breaks. */
  send(head: string, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const socket = this.#socket ?? this.#open();
      socket.cork();
      socket.write(`${head}Content-Length: ${body.byteLength}\r\n\r\n`, 'latin1');
      socket.write(body);
      socket.uncork();
    });
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #open(): Socket {
    const socket = connect({ host: this.#host, port: this.#port, noDelay: true });
    this.#socket = socket;
    this.#received = Buffer.alloc(0);
    const lost = (error?: Error): void => {
      if (this.#socket === socket) this.#socket = undefined;
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.reject(error ?? new Error('the connection was closed'));
    };
    socket.on('error', lost);
    socket.on('close', () => this.#socket === socket && lost());
    socket.on('data', (chunk: Buffer) => this.#take(socket, chunk));
    return socket;
  }

  #take(socket: Socket, chunk: Buffer): void {
    this.#received = this.#received.byteLength === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const end = this.#received.indexOf(HEAD_END);
    if (end < 0) return;
    const head = this.#received.toString('latin1', 0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (/\r\ntransfer-encoding:/i.test(head)) throw new Error('BUG: a chunked answer');
    if (this.#received.byteLength < end + HEAD_END.byteLength + length) return;
    this.#received = Buffer.alloc(0);
    if (/\r\nconnection: *close/i.test(head)) {
      this.#socket = undefined;
      socket.destroy();
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)) });
  }
}
