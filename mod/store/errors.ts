/** A store answered, but not with what was asked: refused, or not a store at all. */
export class StoreError extends Error {
  override readonly name: string = "StoreError";
}

/** No endpoint of the store could be reached or none was healthy; trying again may help. */
export class StoreUnavailableError extends StoreError {
  override readonly name = "StoreUnavailableError";
}

/** The store refuses the operation: this client has no credentials or wrong ones. */
export class AccessError extends StoreError {
  override readonly name = "AccessError";
}

/** A compare-and-swap lost: somebody else created, changed or removed the entry. */
export class ConflictError extends StoreError {
  override readonly name = "ConflictError";
}

/** The config is not the one that was read. @param found what there is now, if anything */
export function configConflict(key: string, found: unknown): ConflictError {
  const what = found === undefined ? "removed" : "written";
  return new ConflictError(`${key} was ${what} by somebody else since it was read`);
}

/**
 * The file of an embedded store cannot be used: in use by another agent, damaged, or not a store. Waiting
 * does not help.
 */
export class StoreFileError extends StoreError {
  override readonly name = "StoreFileError";
}
