<#
.SYNOPSIS
    Turns a recovery checkpoint into reference points and waits until its files are merged.
.DESCRIPTION
    Input: { settings, snapshotCollectionId, mergeTimeoutMs }. Output: a reference point collection.
    An intent is written before the conversion and the result before the wait for the merge, so that a run that is killed at
    any point finds its reference point again. A second call after the checkpoint is gone finds it by the record.
    Source: hyperv.md 1.3 and 1.2 (ConvertToReferencePoint), 1.5 (the two arrays), 3 step 8.
    INFERRED (open question 3): the VHD Set keeps the checkpoint's entry as a reference without data.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.collectionNamespace
    $state = $Request.settings.stateDirectory
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $id = [string]$Request.snapshotCollectionId
    $isSingle = $id.StartsWith('vm/', [System.StringComparison]::Ordinal)
    $checkpoints = @()
    $holder = $null
    if ($isSingle) {
        $parts = $id.Split([char[]]@('/'), 3)
        $system = Get-GcbVirtualSystem -Namespace $Request.settings.namespace -VmId $parts[1]
        if ($null -ne $system) {
            $checkpoints = @(Get-GcbCheckpointSetting -VirtualSystem $system -RecoveryOnly | Where-Object -FilterScript { $_.InstanceID -eq $parts[2] })
        }
    }
    else {
        $holder = Get-CimInstance -Namespace $namespace -ClassName Msvm_SnapshotCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $id) | Select-Object -First 1
        if ($null -ne $holder) { $checkpoints = @(Get-GcbCollectedCheckpoint -SnapshotCollection $holder) }
    }
    $records = @(Get-GcbRecord -StateDirectory $state -Kind 'checkpoints' | Where-Object -FilterScript { [string]$_.snapshotCollectionId -eq $id })

    $allKnown = @(Get-GcbRecord -StateDirectory $state -Kind 'reference-points')
    $known = @($allKnown | Where-Object -FilterScript { [string]$_.snapshotCollectionId -eq $id -and [string]$_.referencePointCollectionId -ne '' })
    if ($checkpoints.Count -eq 0) {
        if ($known.Count -eq 0) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $id -Message "Recovery checkpoint $id does not exist and no reference point was made of it." -Remedy 'Start the backup again.'
        }
        Wait-GcbMerge -Namespace $Request.settings.namespace -ImageService $images -Disks @($known[0].checkpointDisks) -VhdSetOrder $Request.settings.vhdSetOrder -TimeoutMs ([long]$Request.mergeTimeoutMs)
        return $known[0]
    }
    $checkpointRecord = $null
    if ($records.Count -gt 0) { $checkpointRecord = $records[0] }
    $description = Get-GcbCheckpointDescription -ImageService $images -SnapshotCollectionId $id -Checkpoints $checkpoints -Record $checkpointRecord
    # The intent: what to look for when this shell ends between the conversion and the record of its result.
    $vmIds = @($description['members'] | ForEach-Object -Process { $_.vmId })
    foreach ($old in $allKnown) {
        $oldVmIds = @($old.checkpointDisks | ForEach-Object -Process { $_.vmId })
        $overlap = @($vmIds | Where-Object -FilterScript { $oldVmIds -contains $_ })
        if ([string]$old.referencePointCollectionId -eq '' -and $overlap.Count -gt 0) { Remove-GcbRecord -StateDirectory $state -Kind 'reference-points' -Tag ('intent/' + $old.snapshotCollectionId) }
    }
    $before = New-Object -TypeName System.Collections.ArrayList
    foreach ($vmId in $vmIds) {
        $member = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $member) { continue }
        foreach ($point in @(Get-GcbReferencePoint -VirtualSystem $member)) { [void]$before.Add((Get-GcbReferencePointGroup -ReferencePoint $point -VmId $vmId)) }
    }
    Save-GcbRecord -StateDirectory $state -Kind 'reference-points' -Tag ('intent/' + $id) -Record ([ordered]@{
            tag                        = [string]$description['tag']
            snapshotCollectionId       = $id
            referencePointCollectionId = ''
            before                     = $before.ToArray()
            createdAtMs                = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
            disks                      = @($description['disks'] | Where-Object -FilterScript { $_.shared } | ForEach-Object -Process {
                    [ordered]@{ diskId = $_.diskId; path = $_.path; shared = $true; id = $_.setSnapshotId; rctId = $_.rctId }
                })
            checkpointDisks            = @($description['disks'])
        })
    if ($isSingle) {
        $service = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_VirtualSystemSnapshotService
        $outcome = Invoke-GcbMethod -Target $service -MethodName ConvertToReferencePoint -Arguments @{ AffectedSnapshot = $checkpoints[0] } -Subject $id -TimeoutMs ([long]$Request.settings.callTimeoutMs)
        $made = Get-GcbResult -Outcome $outcome -Parameter 'ResultingReferencePoint' -ClassName Msvm_VirtualSystemReferencePoint
        $points = @($made)
    }
    else {
        $service = Get-GcbService -Namespace $namespace -ClassName Msvm_CollectionSnapshotService
        $outcome = Invoke-GcbMethod -Target $service -MethodName ConvertToReferencePoint -Arguments @{ AffectedSnapshotCollection = $holder } -Subject $id -TimeoutMs ([long]$Request.settings.callTimeoutMs)
        $made = Get-GcbResult -Outcome $outcome -Parameter 'ResultingReferencePointCollection' -ClassName Msvm_ReferencePointCollection
        $points = @()
        if ($null -ne $made) { $points = @(Get-CimAssociatedInstance -InputObject $made -Association Msvm_CollectedReferencePoints -ResultClassName Msvm_VirtualSystemReferencePoint) }
    }
    if ($null -eq $made) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $id -Message "The reference point of checkpoint $id was reported as made but is not there." -Remedy 'The next run reads the disks completely; read the Hyper-V-VMMS event log of the host.'
    }
    $disks = New-Object -TypeName System.Collections.ArrayList
    $sharedSeen = @{}
    foreach ($disk in @($description['disks'])) {
        if ($disk['shared']) {
            if ($sharedSeen.ContainsKey($disk['diskId'])) { continue }
            $sharedSeen[$disk['diskId']] = $true
            $entry = @(Get-GcbVhdSetEntry -ImageService $images -Path $disk['path'] | Where-Object -FilterScript { $_.snapshotId -eq $disk['setSnapshotId'] })
            $rctId = $disk['rctId']
            if ($entry.Count -eq 1 -and $entry[0].rctId -ne '') { $rctId = $entry[0].rctId }
            if ($entry.Count -eq 1 -and $rctId -ne '') {
                [void]$disks.Add([ordered]@{ diskId = $disk['diskId']; path = $disk['path']; shared = $true; id = $disk['setSnapshotId']; rctId = $rctId })
            }
            continue
        }
        foreach ($point in $points) {
            if ((ConvertTo-GcbGuid -Text ([string]$point.VirtualSystemIdentifier)) -ne $disk['vmId']) { continue }
            $rctId = Find-GcbTrackingId -TrackingIds (Get-GcbTrackingId -ReferencePoint $point) -DiskInstanceId $disk['instanceId']
            if ($rctId -ne '') {
                [void]$disks.Add([ordered]@{ diskId = $disk['diskId']; path = $disk['path']; shared = $false; id = [string]$point.InstanceID; rctId = $rctId })
            }
        }
    }
    $madeId = if ($isSingle) { 'vm/' + (ConvertTo-GcbGuid -Text ([string]$made.VirtualSystemIdentifier)) + '/' + $made.InstanceID } else { [string]$made.CollectionID }
    $record = [ordered]@{
        tag                        = [string]$description['tag']
        snapshotCollectionId       = $id
        referencePointCollectionId = $madeId
        before                     = @()
        createdAtMs                = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        disks                      = $disks.ToArray()
        checkpointDisks            = @($description['disks'])
    }
    Save-GcbRecord -StateDirectory $state -Kind 'reference-points' -Tag $madeId -Record $record
    Remove-GcbRecord -StateDirectory $state -Kind 'reference-points' -Tag ('intent/' + $id)
    foreach ($old in $records) { Remove-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $old.tag }
    Wait-GcbMerge -Namespace $Request.settings.namespace -ImageService $images -Disks @($description['disks']) -VhdSetOrder $Request.settings.vhdSetOrder -TimeoutMs ([long]$Request.mergeTimeoutMs)
    $record
}
