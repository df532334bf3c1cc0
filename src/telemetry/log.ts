/**
 * Structured logs. Secrets never reach them: keys are passed as fingerprints only, and the usual places of a key
 * are redacted by path should one slip through.
 */
import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

const REDACTED_PATHS = [
  'apiKey',
  'api_key',
  '*.apiKey',
  '*.api_key',
  'headers["dd-api-key"]',
  '*.headers["dd-api-key"]',
  'headers.authorization',
  '*.headers.authorization',
];

export function createLog(level: LogLevel, destination?: DestinationStream): Log {
  const options = { level, base: null, redact: { paths: REDACTED_PATHS, censor: '[redacted]' } };
  return destination ? pino(options, destination) : pino(options);
}
