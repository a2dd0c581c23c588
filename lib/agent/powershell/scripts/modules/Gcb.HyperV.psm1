<#
.SYNOPSIS
    Virtual machines, their disks, VHD Sets and checkpoints as the scripts see them.
.DESCRIPTION
    Source: hyperv.md sections 1.1 to 1.7; each function names its part. What is inferred says INFERRED and is listed in
    docs/verification.md.
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.State.psm1'))

# Source: hyperv.md 1.1, Msvm_VirtualSystemSettingData.VirtualSystemType.
$script:RecoveryType = 'Microsoft:Hyper-V:Snapshot:Recovery'
# Source: hyperv.md 1.1, Msvm_StorageAllocationSettingData.
$script:DiskResourceType = 31
$script:DiskResourceSubType = 'Microsoft:Hyper-V:Virtual Hard Disk'

# A GUID as the agent writes it: lower case, no braces.
function ConvertTo-GcbGuid {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $Text)
    return $Text.Trim('{', '}', ' ').ToLowerInvariant()
}

# The VM with this GUID, or nothing. Source: hyperv.md 1.1 ("Always select by Name").
function Get-GcbVirtualSystem {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [string] $VmId
    )
    return (Get-CimInstance -Namespace $Namespace -ClassName Msvm_ComputerSystem -Filter (Format-GcbFilter -Property 'Name' -Value $VmId) | Select-Object -First 1)
}

# The settings that a VM runs with. Source: hyperv.md 1.1, associations.
function Get-GcbRealizedSetting {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $VirtualSystem)
    return (Get-CimAssociatedInstance -InputObject $VirtualSystem -Association Msvm_SettingsDefineState -ResultClassName Msvm_VirtualSystemSettingData | Select-Object -First 1)
}

# The checkpoints of a VM; with -RecoveryOnly those that were made for backup. Source: hyperv.md 1.1.
function Get-GcbCheckpointSetting {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $VirtualSystem,
        [switch] $RecoveryOnly
    )
    $found = @(Get-CimAssociatedInstance -InputObject $VirtualSystem -Association Msvm_SnapshotOfVirtualSystem -ResultClassName Msvm_VirtualSystemSettingData)
    if ($RecoveryOnly) { return @($found | Where-Object -FilterScript { $_.VirtualSystemType -eq $script:RecoveryType }) }
    return $found
}

# The virtual hard disks of settings (of a VM or of a checkpoint). Source: hyperv.md 1.1 and 1.9 (listing).
function Get-GcbDiskAllocation {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $Setting)
    return @(Get-CimAssociatedInstance -InputObject $Setting -Association Msvm_VirtualSystemSettingDataComponent -ResultClassName Msvm_StorageAllocationSettingData |
            Where-Object -FilterScript { [int]$_.ResourceType -eq $script:DiskResourceType -and $_.ResourceSubType -eq $script:DiskResourceSubType })
}

# Whether a path names a VHD Set.
function Test-GcbVhdSetPath {
    [CmdletBinding()]
    [OutputType([bool])]
    param([Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $Path)
    return $Path.EndsWith('.vhds', [System.StringComparison]::OrdinalIgnoreCase)
}

# Header facts of an image: Path, ParentPath, VirtualDiskId, MaxInternalSize, ...
# Source: hyperv.md 1.6 and win32 Msvm_VirtualHardDiskSettingData (Format 4 = VHDSet, so the call takes sets too).
function Get-GcbImageSetting {
    [CmdletBinding()]
    [OutputType([hashtable])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path
    )
    $outcome = Invoke-GcbMethod -Target $ImageService -MethodName GetVirtualHardDiskSettingData -Arguments @{ Path = $Path } -Subject $Path -TimeoutMs 60000
    $text = [string](Get-GcbProperty -InputObject $outcome.result -Name 'SettingData')
    if ($text -eq '') {
        Stop-GcbVerb -Code 'HV_UNEXPECTED' -Subject $Path -Message "Hyper-V gave no setting data for $Path." -Remedy 'Check that the file can be opened on this host (on shared storage only the host that uses the disk can).'
    }
    return (ConvertFrom-GcbEmbedded -Text $text)
}

# Files from an image down to its root, leaf first.
function Get-GcbImageChain {
    [CmdletBinding()]
    [OutputType([string[]])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path
    )
    $chain = New-Object -TypeName System.Collections.ArrayList
    $next = $Path
    while ($next -ne '') {
        if ($chain.Count -ge 256) {
            Stop-GcbVerb -Code 'HV_UNEXPECTED' -Subject $Path -Message "The parents of $Path do not end within 256 files." -Remedy 'Check the chain with Get-VHD; a parent may point back to its child.'
        }
        [void]$chain.Add($next)
        $setting = Get-GcbImageSetting -ImageService $ImageService -Path $next
        $next = [string]$setting['ParentPath']
    }
    return [string[]]$chain.ToArray()
}

# The Virtual Disk ID of a disk, lower case. It is what the guest sees, so every file of one chain has the same.
# INFERRED: for a VHD Set it is read from a data file; whether the .vhds itself carries the same id is not stated.
function Get-GcbDiskId {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path,
        [Parameter(Mandatory = $true)] [string] $VhdSetOrder
    )
    $file = $Path
    if (Test-GcbVhdSetPath -Path $Path) {
        $chain = @(Get-GcbVhdSetChain -ImageService $ImageService -Path $Path -Order $VhdSetOrder)
        if ($chain.Count -gt 0) { $file = $chain[0] }
    }
    $image = Get-GcbImageSetting -ImageService $ImageService -Path $file
    return (ConvertTo-GcbGuid -Text ([string]$image['VirtualDiskId']))
}

# The file of a disk as it was created: the first of its chain that is no checkpoint file (.avhdx).
function Get-GcbCreatedPath {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path
    )
    if (Test-GcbVhdSetPath -Path $Path) { return $Path }
    if (-not $Path.EndsWith('.avhdx', [System.StringComparison]::OrdinalIgnoreCase) -and -not $Path.EndsWith('.avhd', [System.StringComparison]::OrdinalIgnoreCase)) { return $Path }
    $chain = @(Get-GcbImageChain -ImageService $ImageService -Path $Path)
    foreach ($file in $chain) {
        if (-not $file.EndsWith('.avhdx', [System.StringComparison]::OrdinalIgnoreCase) -and -not $file.EndsWith('.avhd', [System.StringComparison]::OrdinalIgnoreCase)) { return $file }
    }
    return $chain[$chain.Count - 1]
}

# The entries of a VHD Set. Source: hyperv.md 1.6, GetVHDSnapshotInformation; AdditionalInformation 2 = parent paths.
# CreationTime stays text (CIM DATETIME): the agent parses it.
function Get-GcbVhdSetEntry {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path,
        [AllowNull()] [string[]] $SnapshotIds = $null
    )
    $arguments = @{ VHDSetPath = $Path; AdditionalInformation = [uint32[]]@(2) }
    if ($null -ne $SnapshotIds) { $arguments['SnapshotIds'] = [string[]]$SnapshotIds }
    $outcome = Invoke-GcbMethod -Target $ImageService -MethodName GetVHDSnapshotInformation -Arguments $arguments -Subject $Path -TimeoutMs 60000
    foreach ($text in @(Get-GcbProperty -InputObject $outcome.result -Name 'SnapshotInformation')) {
        if ([string]$text -eq '') { continue }
        $entry = ConvertFrom-GcbEmbedded -Text $text
        [ordered]@{
            snapshotId   = ConvertTo-GcbGuid -Text ([string]$entry['SnapshotId'])
            path         = [string]$entry['SnapshotPath']
            rctId        = [string]$entry['ResilientChangeTrackingId']
            creationTime = [string]$entry['CreationTime']
            parents      = [string[]]@($entry['ParentPathsList'] | Where-Object -FilterScript { [string]$_ -ne '' })
        }
    }
}

# The files of a VHD Set. Source: hyperv.md 1.6, GetVHDSetInformation; AdditionalInformation 2 = paths.
# INFERRED: AllPaths without the .vhds itself is the active chain, in the order that the setting vhdSetOrder names.
function Get-GcbVhdSetChain {
    [CmdletBinding()]
    [OutputType([string[]])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $Path,
        [Parameter(Mandatory = $true)] [ValidateSet('leaf-first', 'root-first')] [string] $Order
    )
    $outcome = Invoke-GcbMethod -Target $ImageService -MethodName GetVHDSetInformation -Arguments @{ VHDSetPath = $Path; AdditionalInformation = [uint32[]]@(2) } -Subject $Path -TimeoutMs 60000
    $information = ConvertFrom-GcbEmbedded -Text ([string](Get-GcbProperty -InputObject $outcome.result -Name 'Information'))
    $files = [string[]]@($information['AllPaths'] | Where-Object -FilterScript { [string]$_ -ne '' -and -not (Test-GcbVhdSetPath -Path ([string]$_)) })
    if ($Order -eq 'root-first') { [System.Array]::Reverse($files) }
    return $files
}

# The id of the entry that a checkpoint made in a VHD Set.
# INFERRED (hyperv.md 1.1, text of SnapshotId): the checkpoint's disk names it; else the entry that the checkpoint added.
function Resolve-GcbSetSnapshotId {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $Disk,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Entries
    )
    $named = ConvertTo-GcbGuid -Text ([string](Get-GcbProperty -InputObject $Disk -Name 'SnapshotId'))
    if ($named -ne '') { return $named }
    $withFile = @($Entries | Where-Object -FilterScript { $_.path -ne '' } | Sort-Object -Property { $_.creationTime } -Descending)
    if ($withFile.Count -eq 0) { return '' }
    return $withFile[0].snapshotId
}

# One disk of a checkpoint as the agent wants it. Source: hyperv.md 3, step 5.
function Get-GcbCheckpointDisk {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [ciminstance] $Disk,
        [Parameter(Mandatory = $true)] [string] $VmId
    )
    $hostPath = [string]@($Disk.HostResource)[0]
    $setSnapshotId = ''
    $staticPath = $hostPath
    $rctId = ''
    $isSet = Test-GcbVhdSetPath -Path $hostPath
    if ($isSet) {
        $entries = @(Get-GcbVhdSetEntry -ImageService $ImageService -Path $hostPath)
        $setSnapshotId = Resolve-GcbSetSnapshotId -Disk $Disk -Entries $entries
        $entry = @($entries | Where-Object -FilterScript { $_.snapshotId -eq $setSnapshotId })
        if ($entry.Count -ne 1 -or $entry[0].path -eq '') {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $hostPath -Message "The VHD Set $hostPath has no file for snapshot $setSnapshotId of the checkpoint of VM $VmId." -Remedy 'List the set with Get-VHDSnapshot; remove the recovery checkpoint and run again.'
        }
        $staticPath = $entry[0].path
        $rctId = $entry[0].rctId
    }
    $image = Get-GcbImageSetting -ImageService $ImageService -Path $staticPath
    [ordered]@{
        vmId          = $VmId
        instanceId    = [string]$Disk.InstanceID
        path          = Get-GcbCreatedPath -ImageService $ImageService -Path $hostPath
        diskId        = ConvertTo-GcbGuid -Text ([string]$image['VirtualDiskId'])
        shared        = $isSet
        staticPath    = $staticPath
        setSnapshotId = $setSnapshotId
        rctId         = $rctId
    }
}

# A checkpoint of one VM, or of all members of a snapshot collection, with the times of its record when there is one.
function Get-GcbCheckpointDescription {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $SnapshotCollectionId,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Checkpoints,
        [AllowNull()] [object] $Record,
        [switch] $MembersOnly
    )
    $members = New-Object -TypeName System.Collections.ArrayList
    $disks = New-Object -TypeName System.Collections.ArrayList
    foreach ($checkpoint in $Checkpoints) {
        $vmId = ConvertTo-GcbGuid -Text ([string]$checkpoint.VirtualSystemIdentifier)
        $createdAtMs = ConvertTo-GcbUnixMs -Time $checkpoint.CreationTime
        [void]$members.Add([ordered]@{ vmId = $vmId; checkpointId = [string]$checkpoint.InstanceID; createdAtMs = $createdAtMs })
        if ($MembersOnly) { continue }
        foreach ($disk in @(Get-GcbDiskAllocation -Setting $checkpoint)) {
            [void]$disks.Add((Get-GcbCheckpointDisk -ImageService $ImageService -Disk $disk -VmId $vmId))
        }
    }
    [ordered]@{
        snapshotCollectionId = $SnapshotCollectionId
        tag                  = if ($null -eq $Record) { '' } else { [string]$Record.tag }
        consistency          = if ($null -eq $Record) { '' } else { [string]$Record.consistency }
        startedAtMs          = if ($null -eq $Record) { 0 } else { [long]$Record.startedAtMs }
        endedAtMs            = if ($null -eq $Record) { 0 } else { [long]$Record.endedAtMs }
        members              = $members.ToArray()
        disks                = $disks.ToArray()
    }
}

# The same for a checkpoint that somebody may have to remove: one whose disks cannot all be described is given with none of
# them, never with some, so that it can be found and removed but not be backed up from.
function Get-GcbFoundCheckpoint {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [string] $SnapshotCollectionId,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Checkpoints,
        [AllowNull()] [object] $Record
    )
    try { Get-GcbCheckpointDescription -ImageService $ImageService -SnapshotCollectionId $SnapshotCollectionId -Checkpoints $Checkpoints -Record $Record }
    catch {
        [Console]::Error.WriteLine('The disks of checkpoint ' + $SnapshotCollectionId + ' cannot be described: ' + $_.Exception.Message)
        Get-GcbCheckpointDescription -ImageService $ImageService -SnapshotCollectionId $SnapshotCollectionId -Checkpoints $Checkpoints -Record $Record -MembersOnly
    }
}

# Snapshot collections of a VM collection. Source: hyperv.md 1.1, Msvm_SnapshotOfVirtualSystemCollection.
function Get-GcbSnapshotCollection {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $Collection)
    return @(Get-CimAssociatedInstance -InputObject $Collection -Association Msvm_SnapshotOfVirtualSystemCollection -ResultClassName Msvm_SnapshotCollection)
}

# The checkpoints in a snapshot collection. Source: hyperv.md 1.1, Msvm_CollectedSnapshots.
function Get-GcbCollectedCheckpoint {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $SnapshotCollection)
    return @(Get-CimAssociatedInstance -InputObject $SnapshotCollection -Association Msvm_CollectedSnapshots -ResultClassName Msvm_VirtualSystemSettingData)
}

# The record that speaks of this checkpoint: by id once it is known, else the open intent of its collection.
# An intent is a record without an id. It matches what was not there before it and was made within 20 minutes of it, so
# that the intent of a run that died never claims the checkpoint of another product.
function Find-GcbCheckpointRecord {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Records,
        [Parameter(Mandatory = $true)] [string] $SnapshotCollectionId,
        [Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $CollectionId,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Checkpoints
    )
    foreach ($record in $Records) {
        if ([string]$record.snapshotCollectionId -eq $SnapshotCollectionId) { return $record }
    }
    if ($Checkpoints.Count -eq 0) { return $null }
    $createdAtMs = ConvertTo-GcbUnixMs -Time $Checkpoints[0].CreationTime
    foreach ($record in $Records) {
        $isIntent = [string]$record.snapshotCollectionId -eq '' -and [string]$record.collectionId -eq $CollectionId
        $ageMs = $createdAtMs - [long]$record.startedAtMs
        if ($isIntent -and -not (@($record.before) -contains $SnapshotCollectionId) -and $ageMs -ge -2000 -and $ageMs -le 1200000) { return $record }
    }
    return $null
}

# Removes a snapshot collection with its checkpoints. Source: hyperv.md 1.3, DestroySnapshot.
function Remove-GcbSnapshotCollection {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ciminstance] $SnapshotCollection,
        [Parameter(Mandatory = $true)] [long] $TimeoutMs
    )
    $service = Get-GcbService -Namespace $Namespace -ClassName Msvm_CollectionSnapshotService
    [void](Invoke-GcbMethod -Target $service -MethodName DestroySnapshot -Arguments @{ AffectedSnapshotCollection = $SnapshotCollection } -Subject $SnapshotCollection.CollectionID -TimeoutMs $TimeoutMs)
}

# Removes the checkpoint of a single VM. Source: hyperv.md 1.2, DestroySnapshot.
function Remove-GcbCheckpoint {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ciminstance] $Checkpoint,
        [Parameter(Mandatory = $true)] [long] $TimeoutMs
    )
    $service = Get-GcbService -Namespace $Namespace -ClassName Msvm_VirtualSystemSnapshotService
    [void](Invoke-GcbMethod -Target $service -MethodName DestroySnapshot -Arguments @{ AffectedSnapshot = $Checkpoint } -Subject $Checkpoint.InstanceID -TimeoutMs $TimeoutMs)
}

# Settings of a snapshot call, as an embedded instance. ConsistencyLevel 1 = application, 2 = crash.
# Source: hyperv.md 1.2; GuestBackupType only where the class has it (3.3). INFERRED: the same class for collections (1.3).
function New-GcbSnapshotSetting {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ValidateSet('application', 'crash')] [string] $Consistency,
        [Parameter(Mandatory = $true)] [bool] $IgnoreNonSnapshottableDisks,
        [Parameter(Mandatory = $true)] [ValidateSet('full', 'copy')] [string] $GuestBackupType
    )
    $class = Get-CimClass -Namespace $Namespace -ClassName Msvm_VirtualSystemSnapshotSettingData
    $values = @{
        ConsistencyLevel            = [byte]1
        IgnoreNonSnapshottableDisks = $IgnoreNonSnapshottableDisks
    }
    if ($Consistency -eq 'crash') { $values['ConsistencyLevel'] = [byte]2 }
    $names = @($class.CimClassProperties | ForEach-Object -Process { $_.Name })
    if ($names -contains 'GuestBackupType') {
        $values['GuestBackupType'] = [byte]1
        if ($GuestBackupType -eq 'copy') { $values['GuestBackupType'] = [byte]2 }
    }
    $instance = New-CimInstance -CimClass $class -ClientOnly -Property $values
    return (ConvertTo-GcbEmbedded -Instance $instance)
}

# Waits until the differencing files of a removed checkpoint are merged: a private disk's VM writes to the static file
# again, a set's entry has no file any more and no file of the set is left over.
# INFERRED: Hyper-V merges the child into its parent, so the static file becomes the leaf again (hyperv.md 3, step 8).
function Wait-GcbMerge {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Disks,
        [Parameter(Mandatory = $true)] [string] $VhdSetOrder,
        [Parameter(Mandatory = $true)] [long] $TimeoutMs
    )
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $pending = @(Get-GcbPendingMerge -Namespace $Namespace -ImageService $ImageService -Disks $Disks -VhdSetOrder $VhdSetOrder)
        if ($pending.Count -eq 0) { return }
        if ($clock.ElapsedMilliseconds -ge $TimeoutMs) {
            Stop-GcbVerb -Code 'HV_MERGE_UNFINISHED' -Subject ($pending -join ', ') -Message "The checkpoint files of $($pending -join ', ') were not merged within $TimeoutMs ms." -Remedy 'Look for VMMS events 19070 to 19100 and for mounts that hold the chain; the merge goes on by itself when nothing holds it.'
        }
        Start-Sleep -Milliseconds 1000
    }
}

# The disks, among those of a former checkpoint, whose files are not merged yet.
function Get-GcbPendingMerge {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ciminstance] $ImageService,
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Disks,
        [Parameter(Mandatory = $true)] [string] $VhdSetOrder
    )
    $seen = @{}
    foreach ($disk in $Disks) {
        if ($seen.ContainsKey($disk.staticPath)) { continue }
        $seen[$disk.staticPath] = $true
        if ($disk.shared) {
            $entries = @(Get-GcbVhdSetEntry -ImageService $ImageService -Path $disk.path)
            $withFile = @($entries | Where-Object -FilterScript { $_.path -ne '' })
            $own = @($withFile | Where-Object -FilterScript { $_.snapshotId -eq $disk.setSnapshotId })
            $chain = @(Get-GcbVhdSetChain -ImageService $ImageService -Path $disk.path -Order $VhdSetOrder)
            if ($own.Count -gt 0 -or $chain.Count -gt $withFile.Count + 1) { $disk.path }
        }
        else {
            $system = Get-GcbVirtualSystem -Namespace $Namespace -VmId $disk.vmId
            # A VM that left this host takes its merge along; it is looked at on its new host.
            if ($null -eq $system) { continue }
            $current = @(Get-GcbDiskAllocation -Setting (Get-GcbRealizedSetting -VirtualSystem $system) | ForEach-Object -Process { [string]@($_.HostResource)[0] })
            if (-not ($current -contains $disk.staticPath)) { $disk.path }
        }
    }
}

# Reference points of a VM. Source: hyperv.md 1.1, Msvm_ReferencePointOfVirtualSystem.
function Get-GcbReferencePoint {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $VirtualSystem)
    return @(Get-CimAssociatedInstance -InputObject $VirtualSystem -Association Msvm_ReferencePointOfVirtualSystem -ResultClassName Msvm_VirtualSystemReferencePoint)
}

# The id under which the agent knows a reference point: its collection's, or VM and instance for one that stands alone.
function Get-GcbReferencePointGroup {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $ReferencePoint,
        [Parameter(Mandatory = $true)] [string] $VmId
    )
    $holder = Get-CimAssociatedInstance -InputObject $ReferencePoint -Association Msvm_CollectedReferencePoints -ResultClassName Msvm_ReferencePointCollection | Select-Object -First 1
    if ($null -eq $holder) { return 'vm/' + $VmId + '/' + $ReferencePoint.InstanceID }
    return [string]$holder.CollectionID
}

# The record of a reference point: by id, else the open intent of a conversion of this VM that was cut off before it could
# write down what it made. An intent has no id; what was there before it is not its result.
function Find-GcbReferenceRecord {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [AllowEmptyCollection()] [object[]] $Records,
        [Parameter(Mandatory = $true)] [string] $GroupId,
        [Parameter(Mandatory = $true)] [string] $VmId
    )
    foreach ($record in $Records) {
        if ([string]$record.referencePointCollectionId -eq $GroupId) { return $record }
    }
    foreach ($record in $Records) {
        $vmIds = @($record.checkpointDisks | ForEach-Object -Process { $_.vmId })
        if ([string]$record.referencePointCollectionId -eq '' -and $vmIds -contains $VmId -and -not (@($record.before) -contains $GroupId)) { return $record }
    }
    return $null
}

# The tracking id of each disk of a reference point: disk InstanceID -> RCT id.
# Source: hyperv.md 1.5; arrays of different length are refused (bareos).
function Get-GcbTrackingId {
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)] [ciminstance] $ReferencePoint)
    $disks = @($ReferencePoint.VirtualDiskIdentifiers)
    $ids = @($ReferencePoint.ResilientChangeTrackingIdentifiers)
    if ($disks.Count -ne $ids.Count) {
        Stop-GcbVerb -Code 'HV_REFERENCE_POINT_LOST' -Subject $ReferencePoint.InstanceID -Message "Reference point $($ReferencePoint.InstanceID) names $($disks.Count) disks and $($ids.Count) tracking ids." -Remedy 'Nothing to do: the next run reads the disks completely and makes a new reference point.'
    }
    $map = @{}
    for ($index = 0; $index -lt $disks.Count; $index++) { $map[[string]$disks[$index]] = [string]$ids[$index] }
    return $map
}

# The tracking id of a disk among those of a reference point; '' when it has none. The ids name disks of the VM or of its
# checkpoint: both agree in all that comes after the first separator (controller and place).
# INFERRED (hyperv.md 1.5, VirtualDiskIdentifiers).
function Find-GcbTrackingId {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [hashtable] $TrackingIds,
        [Parameter(Mandatory = $true)] [string] $DiskInstanceId
    )
    if ($TrackingIds.ContainsKey($DiskInstanceId)) { return $TrackingIds[$DiskInstanceId] }
    $place = $DiskInstanceId.Substring($DiskInstanceId.IndexOf('\') + 1)
    foreach ($key in @($TrackingIds.Keys)) {
        if ($key.Substring($key.IndexOf('\') + 1) -eq $place) { return $TrackingIds[$key] }
    }
    return ''
}

# The volume that holds a path: the one whose mount point is the longest prefix.
# Source: cimwin32prov Win32_Volume. INFERRED: a CSV is listed under C:\ClusterStorage\<name>\.
function Get-GcbVolume {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [object[]] $Volumes,
        [Parameter(Mandatory = $true)] [string] $Path
    )
    $best = $null
    # A folder that is itself a mount point comes without the backslash that the mount point has.
    $wanted = $Path.TrimEnd('\') + '\'
    foreach ($volume in $Volumes) {
        $name = [string]$volume.Name
        if (-not $wanted.StartsWith($name, [System.StringComparison]::OrdinalIgnoreCase)) { continue }
        if ($null -eq $best -or $name.Length -gt ([string]$best.Name).Length) { $best = $volume }
    }
    return $best
}

Export-ModuleMember -Function @(
    'ConvertTo-GcbGuid',
    'Get-GcbVirtualSystem',
    'Get-GcbRealizedSetting',
    'Get-GcbCheckpointSetting',
    'Get-GcbDiskAllocation',
    'Test-GcbVhdSetPath',
    'Get-GcbImageSetting',
    'Get-GcbImageChain',
    'Get-GcbDiskId',
    'Get-GcbCreatedPath',
    'Get-GcbVhdSetEntry',
    'Get-GcbVhdSetChain',
    'Resolve-GcbSetSnapshotId',
    'Get-GcbCheckpointDisk',
    'Get-GcbCheckpointDescription',
    'Get-GcbFoundCheckpoint',
    'Get-GcbSnapshotCollection',
    'Get-GcbCollectedCheckpoint',
    'Find-GcbCheckpointRecord',
    'Remove-GcbSnapshotCollection',
    'Remove-GcbCheckpoint',
    'New-GcbSnapshotSetting',
    'Wait-GcbMerge',
    'Get-GcbPendingMerge',
    'Get-GcbReferencePoint',
    'Get-GcbReferencePointGroup',
    'Find-GcbReferenceRecord',
    'Get-GcbTrackingId',
    'Find-GcbTrackingId',
    'Get-GcbVolume'
)
