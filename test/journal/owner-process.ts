/** A process that owns the journal in the folder of its first argument, appends three entries, confirms one, and stays. */
import { nodeFileSystem } from '../../src/core/file-system.ts';
import { systemRandom } from '../../src/core/random.ts';
import { openDiskJournal } from '../../src/journal/disk-journal.ts';
import { systemProcessProbe } from '../../src/journal/owner.ts';
import { diskOptions, envelopeOf } from './journal-support.ts';

const journal = await openDiskJournal(
  diskOptions(nodeFileSystem, process.argv[2]!, { processProbe: systemProcessProbe, random: systemRandom }),
);
for (let index = 0; index < 3; index += 1) await journal.append(envelopeOf(String(index)));
journal.confirm(2);
setImmediate(() => {
  setImmediate(() => console.log(`appended ${journal.usage().end}`));
});
setInterval(() => undefined, 1000);
