/** Runs with every test file: no process of the product outlives the file that started it. */
import { afterAll } from 'vitest';
import { killLeftovers } from './proxy-process.ts';

afterAll(() => killLeftovers());
