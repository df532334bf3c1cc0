/**
 * The lock file names no registry, so npm asks for the whole history of every package to find its address: some 80 MB and a minute. This
 * writes the addresses that the configured registry has by convention into a copy; what comes from them is checked by `integrity` as ever.
 * Usage: node with-addresses.cjs <registry> <lock file in> <lock file out>
 */
const { readFileSync, writeFileSync } = require('node:fs');

const [registry, from, to] = process.argv.slice(2);
const lock = JSON.parse(readFileSync(from, 'utf8'));
for (const [path, entry] of Object.entries(lock.packages)) {
  if (path === '' || !entry.version || entry.link || entry.resolved) continue;
  const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  entry.resolved = `${registry.replace(/\/$/, '')}/${name}/-/${name.split('/').at(-1)}-${entry.version}.tgz`;
}
writeFileSync(to, JSON.stringify(lock, null, 2));
